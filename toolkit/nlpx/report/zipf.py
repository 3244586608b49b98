"""Zipf's law: count against rank on double logarithmic axes, with the exponent that fits best.

The law (G. K. Zipf, Human Behavior and the Principle of Least Effort, 1949) says count = C / rank^s. The fit is least
squares of log count on log rank over ranks in equal steps of the logarithm, so that the few thousand common words
weigh as much as the millions of rare ones; ranks with fewer than 5 occurrences are left out, because whole numbers
make stairs of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from nlpx.report.plots import INK, MAIN, MUTED, SECOND, canvas

RANKS_PER_DECADE = 20
SMALLEST_COUNT = 5
METHOD = f"least squares in log-log, {RANKS_PER_DECADE} ranks a decade, counts of {SMALLEST_COUNT} and more"


class Point(NamedTuple):
    """A rank, from 1, and the count of the word there."""

    rank: int
    frequency: int


class ZipfFit(NamedTuple):
    """count = exp(`log_scale`) / rank^`exponent`, fitted on `num_points` ranks up to `last_rank`."""

    exponent: float
    log_scale: float
    num_points: int
    last_rank: int

    def count_at(self, rank: float) -> float:
        """The count that the law expects at a rank."""
        return math.exp(self.log_scale - self.exponent * math.log(rank))


def log_spaced(counts: Iterable[int]) -> list[Point]:
    """Keep the counts at about 20 ranks a decade of counts that descend, and the last one; reads them as a stream."""
    points: list[Point] = []
    step, point = 0, None
    for rank, count in enumerate(counts, start=1):
        point = Point(rank, count)
        if rank >= 10 ** (step / RANKS_PER_DECADE):
            points.append(point)
            while rank >= 10 ** (step / RANKS_PER_DECADE):
                step += 1
    if point is not None and points[-1] != point:
        points.append(point)
    return points


def fit_zipf(points: Sequence[Point]) -> ZipfFit | None:
    """Fit the law to points of `log_spaced`; None if fewer than three of them have counts that are large enough."""
    used = [point for point in points if point.frequency >= SMALLEST_COUNT]
    if len(used) < 3:
        return None
    ranks, counts = [math.log(point.rank) for point in used], [math.log(point.frequency) for point in used]
    mean_rank, mean_count = sum(ranks) / len(used), sum(counts) / len(used)
    products = sum((rank - mean_rank) * (count - mean_count) for rank, count in zip(ranks, counts, strict=True))
    slope = products / sum((rank - mean_rank) ** 2 for rank in ranks)
    return ZipfFit(-slope, mean_count - slope * mean_rank, len(used), used[-1].rank)


def plot_zipf(points: Sequence[Point], fit: ZipfFit | None, path: Path, *, unit: str = "word") -> bool:
    """Draw count over rank and the fitted line as PNG; return whether there was anything to draw.

    Raises MachineError without matplotlib.
    """
    if not points:
        return False
    title = "Rank and frequency" if fit is None else f"Rank and frequency: Zipf exponent {fit.exponent:.2f}"
    with canvas(path) as figure:
        axes = figure.add_subplot(title=title, xlabel=f"rank of the {unit}", ylabel="count", xscale="log", yscale="log")
        axes.plot([p.rank for p in points], [p.frequency for p in points], color=MAIN, linewidth=1.9)
        axes.annotate(f"{points[-1].rank:,} distinct", points[-1], xytext=(0, -14), textcoords="offset points",
                      color=INK, fontsize=9, ha="right")  # fmt: skip
        if fit is not None:
            ends = (1, fit.last_rank)
            axes.plot(ends, [fit.count_at(rank) for rank in ends], color=SECOND, linewidth=1.2, linestyle="--")
            axes.text(0.99, 0.98, f"count ∝ rank^-{fit.exponent:.3f}\n{METHOD}", color=MUTED, fontsize=7.5,
                      transform=axes.transAxes, ha="right", va="top")  # fmt: skip
    return True
