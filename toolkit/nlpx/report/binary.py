"""Figures of a yes-or-no classifier: F1, confusion counts, threshold, reliability; and the six-variant score.

Probabilities are those of the positive class. A probability at the threshold counts as positive.
F1 of a group of variants pools their rows, F1 = 2 sum(predicted * true) / sum(predicted + true), as the Sohu 2021
contest does: A pools the even ids (same topic), B the odd ids (same event), and the score is the mean of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nlpx.data.rows.sohu_rows import VARIANTS

NUM_BINS = 10
# Criterion by the last bit of the variant id.
CRITERIA = ("A", "B")


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of predictions by truth; every figure that divides by zero is 0, as scikit-learn has it."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def support(self) -> int:
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    @property
    def positives(self) -> int:
        return self.true_positive + self.false_negative

    @property
    def precision(self) -> float:
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        return _ratio(self.true_positive, self.positives)

    @property
    def accuracy(self) -> float:
        return _ratio(self.true_positive + self.true_negative, self.support)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    def figures(self) -> dict[str, float | int]:
        """Return F1, precision, recall, accuracy, support and positives."""
        names = ("f1", "precision", "recall", "accuracy", "support", "positives")
        return {name: getattr(self, name) for name in names}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def confusion(predicted: Sequence[int], labels: Sequence[int]) -> Confusion:
    """Count predictions (0/1) by label (0/1)."""
    pairs = list(zip(predicted, labels, strict=True))
    count = pairs.count
    return Confusion(count((1, 1)), count((1, 0)), count((0, 1)), count((0, 0)))


def f1(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """Return F1 of the positive class; 0 where neither predictions nor labels hold a positive."""
    return confusion(predicted, labels).f1


def decide(probabilities: Sequence[float], *, threshold: float = 0.5) -> list[int]:
    """Return 1 for each probability at or above the threshold, else 0."""
    return [int(probability >= threshold) for probability in probabilities]


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
    """Return the filled ones of `num_bins` equal bins of [0, 1]: mean probability, share of positives, count.

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


def evaluate(
    probabilities: Sequence[float],
    labels: Sequence[int],
    variants: Sequence[int],
    *,
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return all figures of one evaluation as JSON values; the three sequences are parallel, variants are ids 0 to 5.

    Keys: `score` (mean of F1 A and F1 B, or the one present; `score_is` says which), `A`, `B` (figures over the
    pooled variants, None if absent), `variants` and `confusion` by name, `reliability`, `calibration_error`,
    `thresholds`. The criteria may have thresholds of their own (default 0.5 for both).
    """
    thresholds = dict(thresholds or dict.fromkeys(CRITERIA, 0.5))
    predicted = [
        int(probability >= thresholds[CRITERIA[variant % 2]])
        for probability, variant in zip(probabilities, variants, strict=True)
    ]
    counts = _counts(predicted, labels, variants)
    pooled = _counts(predicted, labels, [variant % 2 for variant in variants])
    present = {CRITERIA[bit]: counted for bit, counted in pooled.items()}
    bins = reliability(probabilities, labels)
    return {
        "score": sum(counted.f1 for counted in present.values()) / len(present) if present else 0.0,
        "score_is": _describe_score(list(present)),
        **{name: present[name].figures() if name in present else None for name in CRITERIA},
        "variants": {VARIANTS[variant]: counted.figures() for variant, counted in counts.items()},
        "confusion": {VARIANTS[variant]: asdict(counted) for variant, counted in counts.items()},
        "reliability": bins,
        "calibration_error": calibration_error(bins),
        "thresholds": thresholds,
    }


def _counts(predicted: Sequence[int], labels: Sequence[int], groups: Sequence[int]) -> dict[int, Confusion]:
    rows: dict[int, list[tuple[int, int]]] = {}
    for guess, label, group in zip(predicted, labels, groups, strict=True):
        rows.setdefault(group, []).append((guess, label))
    return {group: confusion(*zip(*rows[group], strict=True)) for group in sorted(rows)}


def _describe_score(present: list[str]) -> str:
    if not present:
        return "nothing to score"
    if len(present) == 2:
        return "mean of F1 A and F1 B"
    return f"F1 {present[0]} (no pairs of {'B' if present[0] == 'A' else 'A'})"
