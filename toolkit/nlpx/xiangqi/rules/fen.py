"""FEN of Chinese chess, read, checked and written.

`rnbakabnr/9/1c5c1/p1p1p1p1p/9/9/P1P1P1P1P/1C5C1/9/RNBAKABNR w - - 0 1`: Black's back rank first, upper case is Red,
digits are empty squares; then the side to move (`w` or `r` is Red), two unused fields, the plies since the last
capture, and the number of the move. The letters E and H for elephant and knight are understood too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from nlpx.errors import InputError
from nlpx.xiangqi.rules.geometry import ADVISOR_STEPS, ELEPHANT_STEPS, in_palace
from nlpx.xiangqi.rules.moves import is_attacked
from nlpx.xiangqi.rules.pieces import (
    ADVISOR,
    BLACK,
    COLOR,
    COLOR_NAMES,
    ELEPHANT,
    KIND,
    KIND_NAMES,
    KING,
    LETTERS,
    MOST_OF_KIND,
    NUM_FILES,
    NUM_RANKS,
    NUM_SQUARES,
    PAWN,
    RED,
    piece_name,
    piece_of,
    square_name,
)

START = "rnbakabnr/9/1c5c1/p1p1p1p1p/9/9/P1P1P1P1P/1C5C1/9/RNBAKABNR w - - 0 1"
TURNS = {"w": RED, "r": RED, "b": BLACK}
PIECES = {letter: piece for piece, letter in enumerate(LETTERS) if piece}
PIECES |= {other: PIECES[letter] for other, letter in zip("EeHh", "BbNn", strict=True)}
PALACE_CENTRES = (13, 76)
# Its diagonals meet in the centre; the middles of its edges also have neighbours, but no advisor gets there.
ADVISOR_POINTS = tuple(
    frozenset((centre, *ADVISOR_STEPS[color][centre])) for color, centre in enumerate(PALACE_CENTRES)
)


def _reached(start: int) -> frozenset[int]:
    """The squares an elephant can come to."""
    known, fresh = {start}, [start]
    while fresh:
        fresh = [to for square in fresh for _, to in ELEPHANT_STEPS[square] if to not in known]
        known.update(fresh)
    return frozenset(known)


ELEPHANT_POINTS = (_reached(2), _reached(NUM_SQUARES - 3))


@dataclass(frozen=True)
class Setup:
    """What a FEN says; `first_ply` counts from 0 at the start of the game."""

    board: tuple[int, ...]
    turn: int
    quiet_plies: int = 0
    first_ply: int = 0


def parse_fen(text: str) -> Setup:
    """Read a FEN; raises InputError that says what is wrong with its form or which rules the position breaks."""
    fields = text.split()
    if not fields:
        raise InputError("the FEN is empty", hint=f"the start is {START}")
    turn = TURNS.get(fields[1].lower()) if len(fields) > 1 else RED
    if turn is None:
        raise InputError(f"FEN: the side to move is `{fields[1]}`", hint="w or r for Red, b for Black")
    quiet_plies, move_number = _counters(fields)
    setup = Setup(_board(fields[0]), turn, quiet_plies, 2 * max(move_number - 1, 0) + turn)
    broken = list(faults(setup))
    if broken:
        raise InputError(f"FEN: {'; '.join(broken)}", hint=f"in {fields[0]}")
    return setup


def _counters(fields: list[str]) -> tuple[int, int]:
    given = fields[4:6] if len(fields) >= 5 else []
    if any(not (field.isdecimal() and field.isascii()) for field in given):
        raise InputError(f"FEN: the counters `{' '.join(given)}` are not whole numbers", hint="such as 0 1")
    numbers = [int(field) for field in given]
    return (numbers[0] if numbers else 0), (numbers[1] if len(numbers) > 1 else 1)


def _board(rows: str) -> tuple[int, ...]:
    ranks = rows.split("/")
    if len(ranks) != NUM_RANKS:
        raise InputError(f"FEN: {len(ranks)} ranks instead of {NUM_RANKS}", hint=f"in {rows}")
    return tuple(piece for number, row in reversed(list(enumerate(ranks))) for piece in _rank(row, 9 - number))


def _rank(row: str, number: int) -> list[int]:
    pieces: list[int] = []
    for letter in row:
        if letter in "123456789":
            pieces += [0] * int(letter)
        elif letter in PIECES:
            pieces.append(PIECES[letter])
        else:
            raise InputError(
                f"FEN: `{letter}` in rank {number} is no piece", hint="pieces: K A B N R C P, k a b n r c p"
            )
    if len(pieces) != NUM_FILES:
        raise InputError(f"FEN: rank {number} has {len(pieces)} squares instead of {NUM_FILES}", hint=f"in `{row}`")
    return pieces


def write_fen(setup: Setup) -> str:
    """Write a FEN with all six fields."""
    ranks = [setup.board[start : start + NUM_FILES] for start in range(0, NUM_SQUARES, NUM_FILES)]
    rows = "/".join(_row(rank) for rank in reversed(ranks))
    return f"{rows} {'wb'[setup.turn]} - - {setup.quiet_plies} {setup.first_ply // 2 + 1}"


def _row(rank: tuple[int, ...]) -> str:
    row, num_empty = "", 0
    for piece in rank:
        if piece:
            row += (str(num_empty) if num_empty else "") + LETTERS[piece]
            num_empty = 0
        else:
            num_empty += 1
    return row + (str(num_empty) if num_empty else "")


def faults(setup: Setup) -> Iterator[str]:
    """Yield a phrase for everything that no game could have led to: counts, places, kings, checks."""
    counts = Counter(setup.board)
    for color in (RED, BLACK):
        yield from _wrong_counts(counts, color)
    for square, piece in enumerate(setup.board):
        if piece and (fault := _wrong_place(piece, square)):
            yield f"{piece_name(piece)} on {square_name(square)} {fault}"
    for color in (RED, BLACK):
        yield from _doubled_pawns(setup.board, color)
    kings = [[s for s, piece in enumerate(setup.board) if piece == piece_of(KING, color)] for color in (RED, BLACK)]
    if [len(found) for found in kings] == [1, 1]:
        yield from _wrong_attacks(setup, kings[RED][0], kings[BLACK][0])


def _wrong_counts(counts: Counter[int], color: int) -> Iterator[str]:
    for kind in range(KING, PAWN + 1):
        number = counts[piece_of(kind, color)]
        if number > MOST_OF_KIND[kind]:
            yield f"{COLOR_NAMES[color]} has {number} {KIND_NAMES[kind]}s, at most {MOST_OF_KIND[kind]} are possible"
        elif kind == KING and number == 0:
            yield f"{COLOR_NAMES[color]} has no king"


def _wrong_place(piece: int, square: int) -> str | None:
    kind, color = KIND[piece], COLOR[piece]
    if kind == KING and not in_palace(square, color):
        return "is outside its palace"
    if kind == ADVISOR and square not in ADVISOR_POINTS[color]:
        return "is on none of the five points of advisors"
    if kind == ELEPHANT and square not in ELEPHANT_POINTS[color]:
        return "is on none of the seven points of elephants"
    return _wrong_pawn(square, color) if kind == PAWN else None


def _wrong_pawn(square: int, color: int) -> str | None:
    rank, file = divmod(square if color == RED else NUM_SQUARES - 1 - square, NUM_FILES)
    if rank < 3:
        return "is behind where pawns start"
    return "has left its file before crossing the river" if rank < 5 and file % 2 else None


def _doubled_pawns(board: tuple[int, ...], color: int) -> Iterator[str]:
    half = range(NUM_SQUARES // 2) if color == RED else range(NUM_SQUARES // 2, NUM_SQUARES)
    pawn = piece_of(PAWN, color)
    files = Counter(square % NUM_FILES for square in half if board[square] == pawn)
    for file, number in sorted(files.items()):
        if number > 1:
            yield f"{COLOR_NAMES[color]} has two pawns on file {'abcdefghi'[file]} before the river"


def _wrong_attacks(setup: Setup, red_king: int, black_king: int) -> Iterator[str]:
    between = setup.board[red_king + NUM_FILES : black_king : NUM_FILES]
    if red_king % NUM_FILES == black_king % NUM_FILES and not any(between):
        yield "the kings face each other"
    elif is_attacked(list(setup.board), (red_king, black_king)[1 - setup.turn], 1 - setup.turn):
        yield f"{COLOR_NAMES[1 - setup.turn]} is in check although {COLOR_NAMES[setup.turn]} is to move"
