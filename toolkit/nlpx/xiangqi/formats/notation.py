"""Moves as text: coordinates of ICCS here, Chinese notation in `chinese.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from nlpx.errors import InputError, shown
from nlpx.xiangqi.formats.chinese import chinese, parse_chinese
from nlpx.xiangqi.rules.moves import SOURCE, TARGET
from nlpx.xiangqi.rules.pieces import NUM_FILES, NUM_MOVES, NUM_SQUARES, square_name

if TYPE_CHECKING:
    from nlpx.xiangqi.rules.board import Position

__all__ = [
    "ICCS",
    "MOVE_OF_ICCS",
    "chinese",
    "counted_from_one",
    "iccs",
    "parse_chinese",
    "parse_coordinates",
    "parse_iccs",
    "parse_move",
]

ICCS = tuple(square_name(SOURCE[move]) + square_name(TARGET[move]) for move in range(NUM_MOVES))
MOVE_OF_ICCS = {text: move for move, text in enumerate(ICCS)}

_ANY_RANKS = re.compile(r"([a-i])(10|\d)-?([a-i])(10|\d)", re.IGNORECASE)
_FORM = re.compile(r"([a-i])([0-9])[-\s]?([a-i])([0-9])", re.IGNORECASE)


def iccs(move: int) -> str:
    """Write a move as four characters, such as `h2e2`."""
    return ICCS[move]


@lru_cache(maxsize=1 << 14)
def parse_iccs(text: str) -> int:
    """Read `h2e2`, `H2E2` or `H2-E2`; whether the move is legal is not checked. Raises InputError."""
    found = MOVE_OF_ICCS.get(text)
    if found is not None:
        return found
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise InputError(f"`{shown(text)}` is no move in coordinates", hint="files a to i, ranks 0 to 9: h2e2 or H2-E2")
    source_file, source_rank, target_file, target_rank = match.groups()
    return _square(source_file, source_rank) * NUM_SQUARES + _square(target_file, target_rank)


def parse_coordinates(text: str, first_rank: int) -> int | None:
    """Read a move whose ranks count from 0, as in ICCS, or from 1 to 10, as UCI's clients write; None if it is none."""
    match = _ANY_RANKS.fullmatch(text)
    if match is None:
        return None
    source, target = (int(match[group]) - first_rank for group in (2, 4))
    if not (0 <= source <= 9 and 0 <= target <= 9):
        return None
    return parse_iccs(f"{match[1]}{source}{match[3]}{target}")


def counted_from_one(words: Sequence[str]) -> list[str] | None:
    """The same moves in ICCS if all of them can be coordinates with ranks from 1 to 10; None if not."""
    moves = [parse_coordinates(word, 1) for word in words]
    return [ICCS[move] for move in moves if move is not None] if None not in moves else None


def parse_move(position: Position, text: str) -> int:
    """Read a move in any notation; it need not be legal. Raises InputError."""
    found = MOVE_OF_ICCS.get(text)
    if found is not None:
        return found
    if text.isascii() and _FORM.fullmatch(text.strip()):
        return parse_iccs(text)
    return parse_chinese(position, text)


def _square(file: str, rank: str) -> int:
    return int(rank) * NUM_FILES + "abcdefghi".index(file.lower())
