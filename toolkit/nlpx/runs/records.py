"""What a record of `metrics.jsonl` may hold where reports compute with it; what something else has changed is refused.

The figures that only one task has are checked by that task's tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

BIN = ("bin", "mean_probability", "positive_share", "count")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_reliability(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict) and all(row.get(key) is not None and _is_number(row[key]) for key in BIN) for row in value
    )


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


CHECKS: dict[str, Callable[[Any], bool]] = {
    "step": lambda value: isinstance(value, int) and 0 <= value < 2**63,
    "split": _is_text,
    "score_is": _is_text,
    "reliability_of": _is_text,
    "reliability": _is_reliability,
    **dict.fromkeys(("loss", "score", "learning_rate", "gradient_norm", "calibration_error", "seconds"), _is_number),
}


def wrong_key(record: Mapping[str, Any]) -> str | None:
    """The first key whose value no run has written, None if there is none."""
    return next((key for key, is_right in CHECKS.items() if key in record and not is_right(record[key])), None)
