"""The score of six-variant matching: F1 of each criterion over its pooled variants, and their mean.

F1 = 2 sum(predicted * true) / sum(predicted + true), as the Sohu 2021 contest has it: A pools the even variants (same
topic), B the odd ones (same event).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlpx.data.rows.sohu_rows import VARIANTS
from nlpx.metrics.binary import calibration_error, confusion, figures, reliability

CRITERIA = ("A", "B")  # by the last bit of the variant's number


def evaluate(
    probabilities: Sequence[float],
    labels: Sequence[int],
    variants: Sequence[int],
    *,
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return all metrics of one evaluation as JSON values; the three sequences are parallel, variants are 0 to 5.

    Keys: `score` (mean of F1 A and F1 B, or the one present; `score_is` says which), `A`, `B` (over the pooled
    variants, None if absent), `variants` and `confusion` by name, `reliability`, `calibration_error`, `thresholds`.
    The criteria may have thresholds of their own (default 0.5 for both).
    """
    thresholds = dict(thresholds or dict.fromkeys(CRITERIA, 0.5))
    predicted = [
        int(probability >= thresholds[CRITERIA[variant % 2]])
        for probability, variant in zip(probabilities, variants, strict=True)
    ]
    groups = _grouped(predicted, labels, variants)
    pooled = _grouped(predicted, labels, [variant % 2 for variant in variants])
    criteria = {CRITERIA[bit]: figures(*group) for bit, group in pooled.items()}
    bins = reliability(probabilities, labels)
    return {
        "score": sum(found["f1"] for found in criteria.values()) / len(criteria) if criteria else 0.0,
        "score_is": _score_name(list(criteria)),
        **{name: criteria.get(name) for name in CRITERIA},
        "variants": {VARIANTS[variant]: figures(*group) for variant, group in groups.items()},
        "confusion": {VARIANTS[variant]: confusion(*group) for variant, group in groups.items()},
        "reliability": bins,
        "reliability_of": "share of positives",
        "calibration_error": calibration_error(bins),
        "thresholds": thresholds,
    }


def _grouped(
    predicted: Sequence[int], labels: Sequence[int], groups: Sequence[int]
) -> dict[int, tuple[list[int], list[int]]]:
    found: dict[int, tuple[list[int], list[int]]] = {}
    for guess, label, group in sorted(zip(predicted, labels, groups, strict=True), key=lambda row: row[2]):
        guesses, truth = found.setdefault(group, ([], []))
        guesses.append(guess)
        truth.append(label)
    return found


def _score_name(present: list[str]) -> str:
    if not present:
        return "nothing to score"
    if len(present) == 2:
        return "mean of F1 A and F1 B"
    return f"F1 {present[0]} (no pairs of {'B' if present[0] == 'A' else 'A'})"
