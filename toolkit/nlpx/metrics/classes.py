"""Metrics of a classifier of any number of classes: accuracy, macro F1, each class, and what is taken for what.

Macro F1 is the plain mean over the classes that occur among labels or predictions, so that a rare class counts as much
as a common one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nlpx.metrics.binary import calibration_error, reliability
from nlpx.metrics.library import sklearn

SCORE = "accuracy"
MACRO = ("f1", "precision", "recall")
NUM_CONFUSED = 10
MOST_IN_MATRIX = 30


def evaluate(
    predictions: Sequence[str], probabilities: Sequence[float], labels: Sequence[str], *, known: Sequence[str]
) -> dict[str, Any]:
    """Return all metrics of one evaluation as JSON values; the first three are parallel, one entry a row.

    `known` orders the classes; labels beyond them follow. `probabilities` are those of the predictions. Keys: `score`
    (accuracy, which `score_is` says), `macro_f1`, `macro_precision`, `macro_recall`, the same three
    as `weighted_` by the rows of each class, `rows`, `classes` by name,
    `confused` (the most frequent mistakes), `confusion_matrix` (labels, and counts
    by label and answer), `reliability` (fraction of right predictions by probability),
    `calibration_error`.
    """
    names = list(dict.fromkeys([*known, *sorted(set(labels))]))
    right = [int(prediction == label) for prediction, label in zip(predictions, labels, strict=True)]
    classes = _by_class(predictions, labels, names)
    present = [found for found in classes.values() if found["support"] or found["answers"]]
    bins = reliability(probabilities, right)
    return {
        "score": _mean(right),
        "score_is": SCORE,
        **{f"macro_{name}": _mean([found[name] for found in present]) for name in MACRO},
        **{f"weighted_{name}": _weighted(classes, name) for name in MACRO},
        "rows": len(labels),
        "classes": classes,
        "confused": _confused(predictions, labels),
        "confusion_matrix": _confusion(predictions, labels, names),
        "reliability": bins,
        "reliability_of": "share of right answers",
        "calibration_error": calibration_error(bins),
    }


def _by_class(predictions: Sequence[str], labels: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not len(labels):
        empty = dict.fromkeys(MACRO, 0.0) | {"support": 0, "answers": 0}
        return {name: dict(empty) for name in names}
    score = sklearn("metrics").precision_recall_fscore_support
    parts = score(labels, predictions, labels=list(names), average=None, zero_division=0)
    predicted = Counter(predictions)
    return {
        name: {
            "f1": float(f1),
            "precision": float(precision),
            "recall": float(recall),
            "support": int(support),
            "answers": predicted[name],
        }
        for name, precision, recall, f1, support in zip(names, *parts, strict=True)
    }


def _weighted(classes: Mapping[str, Mapping[str, Any]], name: str) -> float:
    total = sum(found["support"] for found in classes.values())
    return sum(found[name] * found["support"] for found in classes.values()) / total if total else 0.0


def _confused(predictions: Sequence[str], labels: Sequence[str]) -> list[dict[str, Any]]:
    pairs = Counter(zip(labels, predictions, strict=True))
    wrong = [(count, label, prediction) for (label, prediction), count in pairs.items() if label != prediction]
    worst = sorted(wrong, key=lambda found: (-found[0], *found[1:]))[:NUM_CONFUSED]
    return [{"label": label, "answer": prediction, "count": count} for count, label, prediction in worst]


def _confusion(predictions: Sequence[str], labels: Sequence[str], names: Sequence[str]) -> dict[str, Any] | None:
    """Counts by label (rows) and answer (columns); None for more classes than a matrix can be read with."""
    if len(names) > MOST_IN_MATRIX:
        return None
    pairs = Counter(zip(labels, predictions, strict=True))
    return {"labels": list(names), "counts": [[pairs[label, answer] for answer in names] for label in names]}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
