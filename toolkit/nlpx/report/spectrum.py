"""How the variance of vectors is spread over their directions: each eigenvalue, and the fraction of the first ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from nlpx.report.plots import INK, MAIN, MUTED, SECOND, UPRIGHT, canvas

_LOWEST = 1e-16  # of the largest eigenvalue: what is below is drawn here, for zero has no place on the axis


def plot_spectrum(eigenvalues: Sequence[float], dim: int, path: Path, *, effective_rank: float) -> None:
    """Draw eigenvalues, largest first, and their cumulative fractions as PNG, with a line after the `dim` kept.

    Raises MachineError without matplotlib.
    """
    largest, total = eigenvalues[0], sum(eigenvalues)
    heights = [max(value / largest, _LOWEST) for value in eigenvalues]
    fractions = [value / total for value in accumulate(eigenvalues)]
    numbers = range(1, len(eigenvalues) + 1)
    with canvas(path, size=UPRIGHT) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.set(yscale="log", ylabel="eigenvalue / largest", title=f"Effective rank {effective_rank:.1f} "
                  f"of {len(eigenvalues)}")  # fmt: skip
        upper.plot(numbers, heights, color=MAIN, linewidth=1.9)
        lower.set(xlabel="direction", ylabel="fraction of the variance", ylim=(0, 1.02))
        lower.plot(numbers, fractions, color=SECOND, linewidth=1.9)
        for axes in (upper, lower):
            axes.axvline(dim, color=MUTED, linewidth=1, linestyle=":")
        # Below the line, which rises ever more slowly, and on the side with more room.
        inwards, side = (-6, "right") if dim > len(eigenvalues) / 2 else (6, "left")
        lower.annotate(f"{dim} kept: {fractions[dim - 1]:.1%}", (dim, 0), xytext=(inwards, 8),
                       textcoords="offset points", ha=side, color=INK, fontsize=9)  # fmt: skip
        figure.align_ylabels()
