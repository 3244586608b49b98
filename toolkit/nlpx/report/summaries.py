"""How the figures of summaries are shown: a table, and a plot of scores with intervals above lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nlpx.report.plots import INK, MAIN, MUTED, SECOND, canvas

_COLORS = (MAIN, SECOND, "#2a8c6a", "#7a5fb0", "#b8860b", MUTED)


def rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each way of summarising, as `nlpx summarize evaluate` prints it."""
    for system in result["systems"]:
        by_characters, by_words = system["characters"], system["words"]
        yield {
            "summaries": system["name"],
            "ROUGE-1": _four(by_characters["rouge_1"]),
            "ROUGE-2": _four(by_characters["rouge_2"]),
            "ROUGE-L": _four(by_characters["rouge_l"]),
            "main": f"{_four(by_characters['main'])} ({by_characters['low']:.3f} to {by_characters['high']:.3f})",
            "main by words": _four(by_words["main"]),
            "characters": f"{system['length']:.0f}",
            "of source": f"{100 * system['compression']:.1f} %",
            "copied pairs": _percent(system["copied"]["2"]),
            "unsupported facts": f"{system['unsupported_facts']} of {system['facts']}",
        }


def plot_summaries(result: Mapping[str, Any], path: Path) -> None:
    """Draw the main score of each way with its 95 % interval, and how long its summaries are, as PNG.

    Raises MachineError without matplotlib.
    """
    systems = result["systems"]
    with canvas(path, size=(8.4, 6.2)) as figure:
        upper, lower = figure.subplots(2, 1)
        scores = [system["characters"] for system in systems]
        mains = [score["main"] for score in scores]
        places = range(len(systems))
        # A resampled interval need not hold the value itself.
        limits = [
            [max(0.0, score["main"] - score["low"]) for score in scores],
            [max(0.0, score["high"] - score["main"]) for score in scores],
        ]
        upper.barh(places, mains, color=_COLORS[: len(systems)], height=0.7)
        upper.errorbar(mains, places, xerr=limits, fmt="none", ecolor=INK, elinewidth=0.9)
        upper.set_yticks(places, [system["name"] for system in systems])
        upper.invert_yaxis()
        upper.set(title=f"{result['main_is']}, by characters, {result['documents']} documents", xlim=(0, 1))
        bins = list(systems[0]["histogram"])
        for system, color in zip(systems, _COLORS, strict=False):
            lower.plot(range(len(bins)), list(system["histogram"].values()), color=color, marker="o", markersize=4)
        lower.set_xticks(range(len(bins)), [f"from {low}" for low in bins])
        lower.set(xlabel="characters of a summary", ylabel="summaries")


def _four(value: float) -> str:
    return f"{value:.4f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
