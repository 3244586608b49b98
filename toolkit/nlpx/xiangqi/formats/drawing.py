"""A board drawn in text, for terminals: Chinese characters (two columns each), symbols of Unicode, or plain letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from nlpx.xiangqi.rules.moves import SOURCE, TARGET
from nlpx.xiangqi.rules.pieces import LETTERS, NUM_FILES, NUM_RANKS

if TYPE_CHECKING:
    from nlpx.xiangqi.rules.board import Position

Style = Literal["chinese", "unicode", "ascii"]

# Without colour the two sides must differ in every character, as they do on boards of wood.
_PIECES: dict[str, tuple[str, ...]] = {
    "chinese": ("．", *"帅仕相傌俥炮兵", *"将士象马车砲卒"),
    "unicode": (".", *(chr(number) for number in range(0x1FA60, 0x1FA6E))),
    "ascii": tuple(LETTERS),
}
_WIDE_FILES = ("九八七六五四三二一", "１２３４５６７８９")
_MARGIN = "  "


def draw(position: Position, *, flipped: bool = False, last_move: int | None = None, style: Style = "chinese") -> str:
    """Draw a position in 14 lines, Red below or, `flipped`, above; both squares of `last_move` stand in brackets.

    A piece takes two columns with `chinese`, one with the other styles. The letters below are the files of ICCS; with
    `chinese` the numbers that each side counts its files by stand above and below.
    """
    marked = set() if last_move is None else {SOURCE[last_move], TARGET[last_move]}
    ranks = range(NUM_RANKS) if flipped else range(NUM_RANKS - 1, -1, -1)
    files = range(NUM_FILES - 1, -1, -1) if flipped else range(NUM_FILES)
    wide = style == "chinese"
    numbers = [_labels([_WIDE_FILES[side][file] for file in files]) for side in (0, 1)] if wide else []
    lines = [numbers[flipped - 1]] if wide else []
    for count, rank in enumerate(ranks):
        if count == NUM_RANKS // 2:
            lines.append(_river(wide))
        squares = [rank * NUM_FILES + file for file in files]
        lines.append(f"{rank}{_MARGIN}" + _rank(position.board, squares, marked, _PIECES[style]))
    letters = ["abcdefghi"[file] + (" " if wide else "") for file in files]
    lines += [numbers[flipped]] if wide else []
    return "\n".join(line.rstrip() for line in [*lines, _labels(letters)]) + "\n"


def _rank(board: Sequence[int], squares: list[int], marked: set[int], pieces: tuple[str, ...]) -> str:
    return "".join(
        f"[{pieces[board[square]]}]" if square in marked else f" {pieces[board[square]]} " for square in squares
    )


def _labels(labels: list[str]) -> str:
    return " " + _MARGIN + "".join(f" {label} " for label in labels)


def _river(wide: bool) -> str:
    return f" {_MARGIN} " + ("楚  河".center(14) + "汉  界".center(16) if wide else "~" * (3 * NUM_FILES - 2))
