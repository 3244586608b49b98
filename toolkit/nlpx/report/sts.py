"""Bars of correlations with their intervals: a panel for each pooling, a group for each set, a bar for each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.report.plots import INK, MAIN, MUTED, SECOND, SHAPE_COLORS, canvas, drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = (MUTED, MAIN, SHAPE_COLORS["ss"], SECOND)
PANEL_HEIGHT, GROUP_WIDTH = 2.3, 1.25  # inches


def plot_sts(result: Mapping[str, Any], path: Path) -> None:
    """Draw Spearman's correlation times 100 of what `nlpx evaluate sts` found, with 95 % intervals, as PNG.

    Raises MachineError without matplotlib.
    """
    groups = [(one["name"], one["poolings"]) for one in result["sets"]]
    if "mean" in result:
        groups.append(("mean", result["mean"]["poolings"]))
    poolings = list(groups[0][1])
    size = (max(6.4, 1.2 + GROUP_WIDTH * len(groups)), 0.9 + PANEL_HEIGHT * len(poolings))
    with canvas(path, size=size) as figure:
        panels = figure.subplots(len(poolings), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, pooling in zip(panels, poolings, strict=True):
            _panel(axes, pooling, [found[pooling] for _, found in groups], result["columns"])
        panels[-1].set_xticks(range(len(groups)), [drawable(name) for name, _ in groups])
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False, fontsize=9)


def _panel(axes: Axes, pooling: str, found: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    width = 0.8 / len(columns)
    for number, (column, color) in enumerate(zip(columns, COLORS, strict=True)):
        estimates = [of_set[column]["spearman"] for of_set in found]
        known = [(place, one) for place, one in enumerate(estimates) if one["value"] is not None]
        places = [place + (number - (len(columns) - 1) / 2) * width for place, _ in known]
        heights = [100 * one["value"] for _, one in known]
        below = [100 * (one["value"] - one["low"]) for _, one in known]
        above = [100 * (one["high"] - one["value"]) for _, one in known]
        axes.bar(places, heights, width=0.92 * width, color=color, label=column)
        # A resampled interval need not hold the value itself.
        limits = [[max(0.0, length) for length in lengths] for lengths in (below, above)]
        axes.errorbar(places, heights, yerr=limits, fmt="none", ecolor=INK, elinewidth=0.9)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set(title=pooling, ylabel="Spearman x 100")
    axes.grid(visible=False, axis="x")
