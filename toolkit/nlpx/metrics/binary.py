"""Metrics of a yes-or-no classifier: F1 and its parts, confusion counts, threshold, reliability.

Probabilities are those of the positive class. A probability at the threshold counts as positive. Everything that
divides by zero is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nlpx.metrics.library import sklearn

NUM_BINS = 10
COUNTS = ("true_negative", "false_positive", "false_negative", "true_positive")  # as a confusion matrix unrolls


def decide(probabilities: Sequence[float], *, threshold: float = 0.5) -> list[int]:
    """Return 1 for each probability at or above the threshold, else 0."""
    return [int(probability >= threshold) for probability in probabilities]


def confusion(predicted: Sequence[int], labels: Sequence[int]) -> dict[str, int]:
    """Return how many predictions (0/1) of each kind there are by label (0/1), under the names of `COUNTS`."""
    if not len(labels):
        return dict.fromkeys(COUNTS, 0)
    counted = sklearn("metrics").confusion_matrix(labels, predicted, labels=[0, 1]).ravel()
    return dict(zip(COUNTS, counted.tolist(), strict=True))


def figures(predicted: Sequence[int], labels: Sequence[int]) -> dict[str, float | int]:
    """Return f1, precision, recall, accuracy, support and positives. Raises ValueError for unequal lengths."""
    if not len(labels):
        return dict.fromkeys(("f1", "precision", "recall", "accuracy"), 0.0) | {"support": 0, "positives": 0}
    metrics = sklearn("metrics")
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, predicted, labels=[0, 1], pos_label=1, average="binary", zero_division=0
    )
    return {
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "support": len(labels),
        "positives": int(sum(labels)),
    }


def best_threshold(probabilities: Sequence[float], labels: Sequence[int]) -> float:
    """Return the threshold with the highest F1 on these rows (choose it on dev, never on test).

    It lies midway between two neighbouring probabilities; among equals the one nearest 0.5. Without a positive
    label every threshold scores 0, and 0.5 is returned.
    """
    num_positive = sum(labels)
    ranked = sorted(zip(probabilities, labels, strict=True), reverse=True)
    best, threshold, hits = -1.0, 0.5, 0
    for count, (probability, label) in enumerate(ranked, start=1):
        hits += label
        below = ranked[count][0] if count < len(ranked) else 0.0
        if below == probability and count < len(ranked):
            continue  # equal probabilities fall on the same side of any threshold
        score = 2 * hits / (count + num_positive) if num_positive else 0.0
        middle = (probability + below) / 2
        middle = middle if middle > below else probability  # neighbours may be adjacent floats
        candidate = 0.5 if below < 0.5 <= probability else middle
        if (score, -abs(candidate - 0.5)) > (best, -abs(threshold - 0.5)):
            best, threshold = score, candidate
    return threshold if num_positive else 0.5


def reliability(
    probabilities: Sequence[float], labels: Sequence[int], *, num_bins: int = NUM_BINS
) -> list[dict[str, float | int]]:
    """Return the filled ones of `num_bins` equal bins of [0, 1]: mean probability, fraction of positives, count.

    The last bin includes 1. Shape of a calibration curve: a trustworthy model has equal first two columns.
    """
    bins: list[list[tuple[float, int]]] = [[] for _ in range(num_bins)]
    for probability, label in zip(probabilities, labels, strict=True):
        bins[min(int(probability * num_bins), num_bins - 1)].append((probability, label))
    return [
        {
            "bin": index,
            "mean_probability": sum(probability for probability, _ in rows) / len(rows),
            "positive_share": sum(label for _, label in rows) / len(rows),
            "count": len(rows),
        }
        for index, rows in enumerate(bins)
        if rows
    ]


def calibration_error(bins: Sequence[Mapping[str, float | int]]) -> float:
    """Return the expected calibration error of `reliability` bins: mean gap, weighted by count (Guo et al. 2017)."""
    total = sum(row["count"] for row in bins)
    gaps = (row["count"] * abs(row["mean_probability"] - row["positive_share"]) for row in bins)
    return sum(gaps) / total if total else 0.0
