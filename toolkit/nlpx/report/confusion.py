"""Pictures of a classifier of many classes: what is taken for what, and the figures of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlpx.report.plots import GRID, INK, MAIN, MUTED, SECOND, canvas, drawable

MOST = 30  # classes in one picture; beyond that no label can be read
_MOST_NUMBERED = 15  # classes whose counts stand in the cells
INCHES = 0.42  # of a row
_FIGURES = {"f1", "precision", "recall", "support"}


def plot_confusion(record: Mapping[str, Any], path: Path) -> bool:
    """Draw labels against answers, shaded by the share of each label's rows; whether there was anything to draw."""
    found = record.get("confusion_matrix")
    if not found or not 2 <= len(found["labels"]) <= MOST:
        return False
    names, counts = list(_names(found["labels"]).values()), found["counts"]
    side = 2.6 + INCHES * len(names)
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    with canvas(path, size=(side + 0.6, side)) as figure:
        axes = figure.add_subplot(title="Labels and answers", xlabel="answer", ylabel="label")
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 6 else 0)
        axes.set_yticks(range(len(names)), names)
        axes.grid(visible=False)
        if len(names) <= _MOST_NUMBERED:
            for row, (values, parts) in enumerate(zip(counts, shares, strict=True)):
                for column, (count, share) in enumerate(zip(values, parts, strict=True)):
                    color = "white" if share > 0.6 else INK if count else GRID
                    axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=9)
    return True


def plot_classes(record: Mapping[str, Any], path: Path) -> bool:
    """Draw F1, precision and recall of each class, the best on top; whether there was anything to draw."""
    classes = {name: found for name, found in record.get("classes", {}).items() if found.keys() >= _FIGURES}
    if not 2 <= len(classes) <= MOST:
        return False
    ordered, names = sorted(classes.items(), key=lambda item: item[1]["f1"]), _names(list(classes))
    places = range(len(ordered))
    with canvas(path, size=(7.2, 1.6 + INCHES * len(ordered))) as figure:
        axes = figure.add_subplot(title="F1 of each class, with precision and recall", xlim=(0, 1))
        axes.barh(places, [found["f1"] for _, found in ordered], height=0.62, color=MAIN, alpha=0.75)
        for name, marker, color in (("precision", "|", INK), ("recall", "o", SECOND)):
            values = [found[name] for _, found in ordered]
            axes.scatter(values, places, marker=marker, color=color, s=44, label=name, zorder=3, clip_on=False)
        axes.set_yticks(places, [f"{names[name]} ({found['support']})" for name, found in ordered])
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower right", ncols=2, frameon=False, labelcolor=MUTED, fontsize=9)
    return True


def _names(labels: Sequence[str]) -> dict[str, str]:
    """Each label as it can be drawn; one that no font has is called by its line in the table of the report."""
    shown = {label: drawable(label) for label in labels}
    return {label: text if text == label else f"no. {line}" for line, (label, text) in enumerate(shown.items(), 1)}
