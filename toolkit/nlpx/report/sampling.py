"""A plot of sampling chains: pseudo-log-likelihood per token over the steps, with the burn-in set apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nlpx.report.plots import INK, MAIN, MUTED, canvas

Points = tuple[Sequence[int], Sequence[float]]


def plot_chains(traces: Mapping[int, Points], path: Path, *, first_shown: int | None = None) -> bool:
    """Draw (steps, values) of every chain and their mean as PNG; return whether there was anything to draw.

    Steps before `first_shown` are the burn-in. Raises MachineError without matplotlib.
    """
    lines = [points for points in traces.values() if points[0]]
    if not lines:
        return False
    with canvas(path) as figure:
        title = f"Pseudo-log-likelihood of {len(lines)} chain{'s' if len(lines) > 1 else ''}"
        axes = figure.add_subplot(title=title, xlabel="step", ylabel="nats a token")
        for steps, values in lines:
            axes.plot(steps, values, color=MAIN, alpha=0.35, linewidth=1.0, marker="o", markersize=2.5)
        mean = mean_trace(lines)
        axes.plot(list(mean), list(mean.values()), color=INK, linewidth=1.9)
        if first_shown is not None and first_shown > min(mean):
            axes.axvspan(min(mean), first_shown, color=MUTED, alpha=0.12, linewidth=0)
            axes.text(min(mean), 0.02, " burn-in", color=MUTED, fontsize=9, transform=axes.get_xaxis_transform())
    return True


def mean_trace(lines: Sequence[Points]) -> dict[int, float]:
    """Mean value at each step at which all chains were measured, or any where no step is common; by step."""
    found: dict[int, list[float]] = {}
    for steps, values in lines:
        for step, value in zip(steps, values, strict=True):
            found.setdefault(step, []).append(value)
    common = {step: values for step, values in found.items() if len(values) == len(lines)}
    return {step: sum(values) / len(values) for step, values in sorted((common or found).items())}
