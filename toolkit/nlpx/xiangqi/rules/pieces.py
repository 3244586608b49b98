"""Colours, squares and pieces as small numbers.

A square is rank * 9 + file: rank 0 is Red's back rank, file 0 is file `a` of ICCS, at Red's left hand. A move is
from * 90 + to. A piece is 0 for none, 1 to 7 for Red's king, advisor, elephant, knight, rook, cannon and pawn, 8 to 14
for Black's.
"""

from __future__ import annotations

NUM_FILES, NUM_RANKS, NUM_SQUARES = 9, 10, 90
NUM_MOVES = NUM_SQUARES * NUM_SQUARES  # a move is one number: source * 90 + target

RED, BLACK = 0, 1
COLOR_NAMES = ("Red", "Black")
RESULT_OF_WINNER = {RED: "1-0", BLACK: "0-1", None: "1/2-1/2"}

KING, ADVISOR, ELEPHANT, KNIGHT, ROOK, CANNON, PAWN = range(1, 8)
NUM_KINDS = 7
KIND_NAMES = ("", "king", "advisor", "elephant", "knight", "rook", "cannon", "pawn")
LETTERS = ".KABNRCPkabnrcp"
MOST_OF_KIND = (0, 1, 2, 2, 2, 2, 2, 5)  # of one colour, by kind; the first is no piece

_PIECES = range(2 * NUM_KINDS + 1)
KIND = tuple((piece - 1) % NUM_KINDS + 1 if piece else 0 for piece in _PIECES)
COLOR = tuple((piece - 1) // NUM_KINDS for piece in _PIECES)  # -1 of the empty square
IS_OWN = tuple(tuple(color == owner for owner in COLOR) for color in (RED, BLACK))
IS_ENEMY = tuple(tuple(1 - color == owner for owner in COLOR) for color in (RED, BLACK))


def piece_of(kind: int, color: int) -> int:
    """Return the number of a piece of this kind and colour."""
    return kind + NUM_KINDS * color


def piece_name(piece: int) -> str:
    """Return a piece in words, such as `Red's knight`."""
    return f"{COLOR_NAMES[COLOR[piece]]}'s {KIND_NAMES[KIND[piece]]}"


def square_name(square: int) -> str:
    """Return a square as ICCS writes it, such as `h2`."""
    rank, file = divmod(square, NUM_FILES)
    return f"{'abcdefghi'[file]}{rank}"


def mirrored(move: int) -> int:
    """Return the same move on a board with left and right exchanged."""
    source, target = divmod(move, NUM_SQUARES)
    return _mirrored_square(source) * NUM_SQUARES + _mirrored_square(target)


def _mirrored_square(square: int) -> int:
    rank, file = divmod(square, NUM_FILES)
    return rank * NUM_FILES + (NUM_FILES - 1 - file)
