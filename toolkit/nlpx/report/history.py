"""What a run recorded in `metrics.jsonl`, sorted by split; the numbers behind every plot and table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class History:
    """The records of a run in order, and the evaluation with the highest score (None before the first)."""

    records: list[dict[str, Any]]

    def split(self, name: str) -> list[dict[str, Any]]:
        """Return the records of one split."""
        return [record for record in self.records if record.get("split") == name]

    @property
    def best(self) -> dict[str, Any] | None:
        scored = [record for record in self.split("dev") if is_number(record.get("score"))]
        return max(scored, key=lambda record: record["score"], default=None)

    def points(self, split: str, name: str) -> tuple[list[int], list[float]]:
        """Return the steps and values at which a split recorded a finite number under `name`."""
        found = [record for record in self.split(split) if is_number(record.get(name)) and "step" in record]
        return [int(record["step"]) for record in found], [float(record[name]) for record in found]


def is_number(value: object) -> bool:
    """Return whether a recorded value can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def sparkline(values: Sequence[float], *, width: int = 60) -> str:
    """Return a line of block characters, lowest to highest; longer series are averaged down to `width`."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    span = high - low or 1.0
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1))] for value in means)
