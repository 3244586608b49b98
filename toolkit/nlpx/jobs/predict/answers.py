"""What a prediction looks like in a row: behind the columns it came with, and flat where it goes into a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Probabilities = list[tuple[Any, float]]
_ADDED = ("label", "probability")
_GIVEN = "given_label"
_DIGITS = 6


def answered(
    row: Mapping[str, Any], probabilities: Probabilities | None, *, every_class: bool, top_k: int | None
) -> dict[str, Any]:
    """Return a predicted row with what was added to it last: `label`, `probability`, and what was asked for.

    `every_class` adds `probabilities`, of each class by name; `top_k` adds `top`, the likeliest classes in order.
    """
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key == "label" and _GIVEN in row:  # where the label that the row came with stood
            found[_GIVEN] = row[_GIVEN]
        elif key not in (*_ADDED, _GIVEN):
            found[key] = value
    found |= {key: row[key] for key in _ADDED if key in row}
    if probabilities is None:
        return found
    if every_class:
        found["probabilities"] = {str(label): round(value, _DIGITS) for label, value in probabilities}
    if top_k is not None:
        ranked = sorted(probabilities, key=lambda pair: -pair[1])[:top_k]
        found["top"] = [{"label": label, "probability": round(value, _DIGITS)} for label, value in ranked]
    return found


def flat(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same rows for a table: columns `probability_<class>`, and `top_1`, `top_1_probability`, `top_2`, ..."""
    for row in rows:
        probabilities, top = row.pop("probabilities", {}), row.pop("top", [])
        row |= {f"probability_{label}": value for label, value in probabilities.items()}
        for rank, found in enumerate(top, start=1):
            row |= {f"top_{rank}": found["label"], f"top_{rank}_probability": found["probability"]}
        yield row
