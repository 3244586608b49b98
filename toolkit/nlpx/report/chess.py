"""Plots of collections of Xiangqi games: the opening tree as nested bars, and how long games are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.report.plots import INK, MAIN, MUTED, canvas, drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (9.6, 7.2)  # inches
_NUM_BINS = 40
_SMALLEST_LABEL = 0.022  # fraction of all games that a bar needs to have room for its move


def plot_openings(rows: Sequence[Mapping[str, Any]], num_games: int, plies: Sequence[int], path: Path) -> bool:
    """Draw the rows of `tree_rows` and the lengths of the games as PNG; return whether there was any.

    A bar is a move, its width the fraction of `num_games`, its colour Red's score. Raises MachineError without
    matplotlib.
    """
    if not rows or not num_games:
        return False
    with canvas(path, size=SIZE) as figure:
        upper, lower = figure.subplots(2, 1, height_ratios=(4, 1))
        upper.set_title(f"Openings of {num_games:,} games")
        _draw_tree(upper, rows, num_games)
        lower.hist(plies, bins=_NUM_BINS, color=MAIN, alpha=0.75)
        lower.set(xlabel="plies of a game", ylabel="games")
    return True


def _draw_tree(axes: Axes, rows: Sequence[Mapping[str, Any]], num_games: int) -> None:
    from matplotlib import colormaps

    colors = colormaps["RdBu"].reversed()
    left_of = {"": 0.0}  # where the next move after a line begins
    for row in rows:
        parent = " ".join(row["line"].split()[:-1])
        left, width = left_of[parent], row["games"] / num_games
        left_of[parent], left_of[row["line"]] = left + width, left
        score = row["red_score"]
        color = MUTED if score is None else colors(min(max(2 * score - 0.5, 0.1), 0.9))
        axes.barh(row["ply"], width, left=left, height=0.96, color=color, edgecolor="white", linewidth=0.8)
        if width >= _SMALLEST_LABEL:
            axes.text(
                left + width / 2, row["ply"], _label(row, width), color=INK, fontsize=7.5, ha="center", va="center"
            )
    depth = max(row["ply"] for row in rows)
    axes.set(xlim=(0, 1), ylim=(depth + 0.5, 0.5), yticks=range(1, depth + 1), ylabel="ply", xlabel="fraction of games")
    axes.grid(visible=False)
    axes.text(
        1, 1.01, "red: Red scores more, blue: Black", color=MUTED, fontsize=8, ha="right", transform=axes.transAxes
    )


def _label(row: Mapping[str, Any], width: float) -> str:
    move = drawable(row["chinese"])
    move = row["move"] if "?" in move else move
    if width < 2 * _SMALLEST_LABEL:
        return "\n".join((move[:2], move[2:]))
    return move if row["red_score"] is None else f"{move}\n{row['red_score']:.0%}"
