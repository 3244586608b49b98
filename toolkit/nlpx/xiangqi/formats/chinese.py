"""Chinese notation, read and written: 炮二平五, 马8进7, 前马进7, 一卒平5.

Four characters: the piece, its file counted from its owner's right, forward (进), back (退) or sideways (平), and how
far straight on or else onto which file. Two of a kind on one file are distinguished as 前 and 后, three pawns as 前, 中
and 后, more as 一 to 五 from the front. If two files have several pawns each, those are numbered together, first by
file from the right, then from the front. Advisors and elephants need none of it: the one that can advance stands
behind. (The rules that xqbase publishes with its programming interfaces.)

Read are also traditional characters, all names of a piece whatever its colour, any kind of digits, 马前进七, 前三平四
for a pawn of the third file, and the letters of WXF (C2=5, H8+7, +N-2).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from nlpx.errors import InputError, shown
from nlpx.xiangqi.rules.geometry import FORWARD
from nlpx.xiangqi.rules.moves import SOURCE, TARGET, Board, is_possible
from nlpx.xiangqi.rules.pieces import (
    ADVISOR,
    BLACK,
    CANNON,
    COLOR,
    COLOR_NAMES,
    ELEPHANT,
    KIND,
    KIND_NAMES,
    KING,
    KNIGHT,
    NUM_FILES,
    NUM_RANKS,
    NUM_SQUARES,
    PAWN,
    RED,
    ROOK,
    piece_of,
)

if TYPE_CHECKING:
    from nlpx.xiangqi.rules.board import Position

NAMES: tuple[str, ...] = ("", *"帅仕相马车炮兵", *"将士象马车炮卒")
SPELLINGS = {
    KING: "帅帥将將Kk",
    ADVISOR: "仕士AaGg",
    ELEPHANT: "相象BbEe",
    KNIGHT: "马馬傌NnHh",
    ROOK: "车車俥Rr",
    CANNON: "炮砲包Cc",
    PAWN: "兵卒Pp",
}
KIND_OF = {character: kind for kind, characters in SPELLINGS.items() for character in characters}
CHINESE_DIGITS = "一二三四五六七八九"
DIGIT_OF = {
    digit: number
    for digits in (CHINESE_DIGITS, "123456789", "１２３４５６７８９")
    for number, digit in enumerate(digits, 1)
}
FRONT, MIDDLE, BACK = "前中后"
PLACE_OF = dict(zip("前+中后後-", (FRONT, FRONT, MIDDLE, BACK, BACK, BACK), strict=True))
FORWARDS, SIDEWAYS, BACKWARDS = 1, 0, -1
DIRECTION_OF = dict(
    zip(
        "进進+平=.。退-",
        (FORWARDS, FORWARDS, FORWARDS, SIDEWAYS, SIDEWAYS, SIDEWAYS, SIDEWAYS, BACKWARDS, BACKWARDS),
        strict=True,
    )
)
DIRECTION_NAMES = {FORWARDS: "进", SIDEWAYS: "平", BACKWARDS: "退"}
_LINEAR = (KING, ROOK, CANNON, PAWN)
_RANKS_OF_FILES = {ADVISOR: {1: 1}, ELEPHANT: {2: 2}, KNIGHT: {1: 2, 2: 1}}
_FILES = tuple(tuple(range(file, NUM_SQUARES, NUM_FILES)) for file in range(NUM_FILES))
_HINT = "such as 炮二平五, 马8进7 or 前马进7"


class Written(NamedTuple):
    """A move as written: which piece, on which file or at which place among its kind, and where each would go."""

    piece: int
    file: int | None
    place: str | int | None
    targets: tuple[int, ...]  # by the square it comes from; -1: not from there


def parse_chinese(position: Position, text: str) -> int:
    """Read a move in a position; whether it is legal is not checked, as in `parse_iccs`.

    Raises InputError for another form, for a piece that is not there, and where two pieces could be meant.
    """
    written = _read(text, position.turn)
    board, targets = position.board, written.targets
    if written.place is None and written.file is not None:
        piece = written.piece
        squares = [square for square in _FILES[written.file] if board[square] == piece]
    else:
        squares = _at_place(board, written)
    if len(squares) == 1 and targets[squares[0]] >= 0:
        return squares[0] * NUM_SQUARES + targets[squares[0]]
    return _choose(position, text, written, squares)


def _choose(position: Position, text: str, written: Written, squares: list[int]) -> int:
    if not squares:
        raise InputError(f"`{text}`: {_absence(written)}")
    moves = [square * NUM_SQUARES + written.targets[square] for square in squares if written.targets[square] >= 0]
    if not moves:
        raise InputError(f"`{text}`: the {KIND_NAMES[KIND[written.piece]]} there cannot move like that")
    if len(moves) > 1:
        moves = [move for move in moves if is_possible(position.board, move, position.turn)] or moves
    if len(moves) > 1:
        moves = [move for move in moves if position.is_legal(move)] or moves
    if len(moves) > 1:
        raise InputError(f"`{text}` can mean two pieces", hint="write which: 前, 中 or 后, or 一 to 五 for pawns")
    return moves[0]


def _absence(written: Written) -> str:
    owner, kind = COLOR_NAMES[COLOR[written.piece]], KIND_NAMES[KIND[written.piece]]
    if written.place is not None:
        return f"{owner} has no such {kind} among several on one file"
    digit = _digit(written.file or 0, COLOR[written.piece])
    return f"{owner} has no {kind} on file {digit}"


@lru_cache(maxsize=1 << 14)
def _read(text: str, color: int) -> Written:
    characters = [character for character in text if not character.isspace()]
    if len(characters) != 4 or characters[2] not in DIRECTION_OF or characters[3] not in DIGIT_OF:
        raise InputError(f"`{shown(text)}` is no move in Chinese notation", hint=_HINT)
    first, second = characters[:2]
    kind, file, place = _subject(first, second)
    if kind is None:
        raise InputError(f"`{text}`: `{first}{second}` names no piece", hint=_HINT)
    column = None if file is None else _column(file, color)
    targets = _targets(kind, color, DIRECTION_OF[characters[2]], DIGIT_OF[characters[3]])
    return Written(piece_of(kind, color), column, place, targets)


def _subject(first: str, second: str) -> tuple[int | None, int | None, str | int | None]:
    """(kind, file, place) of the first two characters."""
    if first in KIND_OF and second in DIGIT_OF:
        return KIND_OF[first], DIGIT_OF[second], None
    if first in PLACE_OF and second in DIGIT_OF:
        return PAWN, DIGIT_OF[second], PLACE_OF[first]
    if first in KIND_OF:
        first, second = second, first
    place = PLACE_OF.get(first) or DIGIT_OF.get(first)
    return (KIND_OF.get(second) if place else None), None, place


@lru_cache(maxsize=1 << 10)
def _targets(kind: int, color: int, direction: int, number: int) -> tuple[int, ...]:
    return tuple(_target(square, kind, color, direction, number) for square in range(NUM_SQUARES))


def _target(square: int, kind: int, color: int, direction: int, number: int) -> int:
    rank, file = divmod(square, NUM_FILES)
    column = _column(number, color)
    if kind in _LINEAR:
        if direction == SIDEWAYS:
            return rank * NUM_FILES + column if column != file else -1
        num_ranks, column = number, file
    else:
        num_ranks = _RANKS_OF_FILES[kind].get(abs(column - file), 0)
        if direction == SIDEWAYS or not num_ranks:
            return -1
    rank += FORWARD[color] * direction * num_ranks
    return rank * NUM_FILES + column if 0 <= rank < NUM_RANKS else -1


def _at_place(board: Board, written: Written) -> list[int]:
    """The pieces that 前, 中, 后 or a number may mean: one of each file with several of them."""
    groups = _groups(board, written.piece)
    if written.file is not None:
        groups = [group for group in groups if group[0] % NUM_FILES == written.file]
    if isinstance(written.place, int):
        numbered = [square for group in groups for square in group]
        return numbered[written.place - 1 : written.place]
    if written.place == MIDDLE:
        return [group[1] for group in groups if len(group) == 3]
    return [group[0 if written.place == FRONT else -1] for group in groups]


def _groups(board: Board, piece: int) -> list[list[int]]:
    """Files with several of a piece, from its owner's right, each from the front."""
    step = -1 if COLOR[piece] == RED else 1
    files = [[square for square in squares[::step] if board[square] == piece] for squares in _FILES[::step]]
    return [group for group in files if len(group) > 1]


def chinese(position: Position, move: int) -> str:
    """Write a move of the side to move; Red's numbers are Chinese, Black's Arabic."""
    source, target = SOURCE[move], TARGET[move]
    piece = position.board[source]
    color, kind = COLOR[piece], KIND[piece]
    ranks = (target // NUM_FILES - source // NUM_FILES) * FORWARD[color]
    direction = (ranks > 0) - (ranks < 0)
    straight = kind in _LINEAR and direction != SIDEWAYS
    last = _numeral(abs(ranks), color) if straight else _digit(target % NUM_FILES, color)
    return _subject_text(position.board, piece, source) + DIRECTION_NAMES[direction] + last


def _subject_text(board: Board, piece: int, source: int) -> str:
    groups = _groups(board, piece)
    group = next((group for group in groups if source in group), None)
    if group is None or KIND[piece] in (ADVISOR, ELEPHANT):
        return NAMES[piece] + _digit(source % NUM_FILES, COLOR[piece])
    if len(groups) > 1 or len(group) > 3:
        numbered = [square for group in groups for square in group]
        return CHINESE_DIGITS[numbered.index(source)] + NAMES[piece]
    place = FRONT if source == group[0] else BACK if source == group[-1] else MIDDLE
    return place + NAMES[piece]


def _column(number: int, color: int) -> int:
    return NUM_FILES - number if color == RED else number - 1


def _digit(column: int, color: int) -> str:
    return _numeral(NUM_FILES - column if color == RED else column + 1, color)


def _numeral(number: int, color: int) -> str:
    return str(number) if color == BLACK else CHINESE_DIGITS[number - 1]
