"""Metrics of rows with several labels: F1 over all decisions (micro), over classes (macro, weighted), exact sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

SCORE = "micro F1"
PARTS = ("f1", "precision", "recall")
MEANS = ("micro", "macro", "weighted")


def evaluate(
    predictions: Sequence[Sequence[str]], labels: Sequence[Sequence[str]], *, known: Sequence[str]
) -> dict[str, Any]:
    """Return all metrics of one evaluation as JSON values; the first two are parallel, a set of names a row.

    `known` orders the classes; labels beyond them follow, and count as missed. Keys: `score` (micro F1, which
    `score_is` says), `exact` (share of rows whose whole set is right), `rows`, `classes` by name, and F1, precision and
    recall by micro, macro and weighted mean, such as `macro_f1`. The macro mean is over classes that occur among labels
    or predictions; the weighted one counts each class as often as it occurs among labels. What divides by zero is 0.
    """
    names = list(dict.fromkeys([*known, *sorted({label for row in labels for label in row})]))
    if not labels or not names:
        empty = {f"{mean}_{part}": 0.0 for mean in MEANS for part in PARTS}
        return {"score": 0.0, "score_is": SCORE, "exact": 0.0, "rows": 0, **empty, "classes": {}}
    hits = Counter(label for one, other in zip(predictions, labels, strict=True) for label in set(one) & set(other))
    answers = Counter(label for row in predictions for label in row)
    support = Counter(label for row in labels for label in row)
    classes: dict[str, dict[str, Any]] = {
        name: _figures(hits[name], answers[name], support[name]) | {"support": support[name], "answers": answers[name]}
        for name in names
    }
    exact = [set(one) == set(other) for one, other in zip(predictions, labels, strict=True)]
    means = {"micro": _figures(hits.total(), answers.total(), support.total()), **_means(list(classes.values()))}
    return {
        "score": means["micro"]["f1"],
        "score_is": SCORE,
        "exact": sum(exact) / len(exact),
        "rows": len(labels),
        **{f"{mean}_{part}": value for mean, figures in means.items() for part, value in figures.items()},
        "classes": classes,
    }


def _figures(hits: int, answers: int, support: int) -> dict[str, float]:
    return {
        "f1": 2 * hits / (answers + support) if answers + support else 0.0,
        "precision": hits / answers if answers else 0.0,
        "recall": hits / support if support else 0.0,
    }


def _means(classes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Macro, over the classes that occur, and weighted by support."""
    occurring = [found for found in classes if found["support"] or found["answers"]]
    total = sum(found["support"] for found in classes)
    return {
        "macro": {part: sum(found[part] for found in occurring) / max(1, len(occurring)) for part in PARTS},
        "weighted": {part: sum(found[part] * found["support"] for found in classes) / max(1, total) for part in PARTS},
    }
