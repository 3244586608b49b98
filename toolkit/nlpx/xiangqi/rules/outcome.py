"""The end of a game, and which rule a move breaks.

A side without a legal move has lost, mated or stalemated alike. A position that stands for the third time with the same
side to move ends the game; who loses it is in `repetition.py`. As an option, 60 moves of each side (120 plies) without
a capture are a draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nlpx.xiangqi.rules.geometry import PATHS
from nlpx.xiangqi.rules.moves import SOURCE, TARGET
from nlpx.xiangqi.rules.pieces import (
    ADVISOR,
    CANNON,
    COLOR,
    COLOR_NAMES,
    ELEPHANT,
    KIND,
    KIND_NAMES,
    KING,
    KNIGHT,
    NUM_FILES,
    NUM_MOVES,
    PAWN,
    RESULT_OF_WINNER,
    piece_name,
    square_name,
)
from nlpx.xiangqi.rules.repetition import judge_repetition

if TYPE_CHECKING:
    from nlpx.xiangqi.rules.board import Position

SIXTY_MOVES = 120  # plies


class Outcome(NamedTuple):
    """How a game ended: `winner` is RED, BLACK or None for a draw, `reason` says why."""

    winner: int | None
    reason: str

    @property
    def result(self) -> str:
        return RESULT_OF_WINNER[self.winner]


def outcome(
    position: Position, *, sixty_moves: bool = False, repetitions: int = 3, moves: list[int] | None = None
) -> Outcome | None:
    """Return how the game has ended, None if it continues.

    `repetitions`: how often a position must stand, 0: never mind; `moves`: the legal moves, if they are known already.
    """
    if not (position.legal_moves() if moves is None else moves):
        return Outcome(1 - position.turn, "checkmate" if position.in_check() else "stalemate")
    if repetitions:
        judged = judge_repetition(position, repetitions)
        if judged is not None:
            return Outcome(*judged)
    if sixty_moves and position.quiet_plies >= SIXTY_MOVES:
        return Outcome(None, "60 moves without a capture")
    return None


def why_illegal(position: Position, move: int) -> str:
    """Return which rule a move breaks, as a sentence without a full stop; "" for a legal move."""
    if not 0 <= move < NUM_MOVES:
        return f"{move} is no move: they are numbered 0 to {NUM_MOVES - 1}"
    if position.is_legal(move):
        return ""
    if not position.legal_moves():
        how = "is mated" if position.in_check() else "has no move left"
        return f"the game is over: {COLOR_NAMES[position.turn]} {how}"
    return _wrong_piece(position, move) or _wrong_movement(position, move) or _left_in_check(position, move)


def _wrong_piece(position: Position, move: int) -> str:
    piece, taken = position.board[SOURCE[move]], position.board[TARGET[move]]
    where = square_name(SOURCE[move])
    if not piece:
        return f"there is no piece on {where}"
    if COLOR[piece] != position.turn:
        return f"the piece on {where} is {piece_name(piece)}, but {COLOR_NAMES[position.turn]} is to move"
    if COLOR[piece] == COLOR[taken]:
        return f"{square_name(TARGET[move])} holds {piece_name(taken)}, a piece of the same side"
    return ""


def _wrong_movement(position: Position, move: int) -> str:
    board, source, target = position.board, SOURCE[move], TARGET[move]
    kind = KIND[board[source]]
    path = PATHS[board[source]].get(move)
    if path is None:
        return _wrong_shape(board[source], source, target)
    between = [square for square in path if board[square]]
    if kind == CANNON and board[target]:
        return "" if len(between) == 1 else f"a cannon captures over exactly one piece, here are {len(between)} between"
    if not between:
        return ""
    where = square_name(between[0])
    if kind in _STOPS:
        return f"the {KIND_NAMES[kind]}'s {_STOPS[kind]} on {where} is blocked"
    return f"the {KIND_NAMES[kind]} cannot jump over {where}"


def _wrong_shape(piece: int, source: int, target: int) -> str:
    kind = KIND[piece]
    ranks, files = target // NUM_FILES - source // NUM_FILES, target % NUM_FILES - source % NUM_FILES
    if kind == ELEPHANT and abs(ranks) == abs(files) == 2:
        return "an elephant cannot cross the river"
    if kind == PAWN and ranks == 0 and abs(files) == 1:
        return "a pawn moves sideways only after it has crossed the river"
    return _MOVEMENTS.get(kind, f"a {KIND_NAMES[kind]} moves along ranks and files")


_STOPS = {KNIGHT: "leg", ELEPHANT: "eye"}
_MOVEMENTS = {
    KING: "a king moves one point straight, within its palace",
    ADVISOR: "an advisor moves one point diagonally, within its palace",
    ELEPHANT: "an elephant moves exactly two points diagonally",
    KNIGHT: "a knight moves one point straight and one more diagonally outwards",
    PAWN: "a pawn moves one point forward, across the river also sideways, never back",
}


def _left_in_check(position: Position, move: int) -> str:
    after = position.copy()
    after.push(move)
    red, black = after.king_square(0), after.king_square(1)
    between = after.board[red + NUM_FILES : black : NUM_FILES]
    if red % NUM_FILES == black % NUM_FILES and not any(between):
        return "the kings would face each other"
    name = COLOR_NAMES[position.turn]
    return f"{name} is in check and would stay so" if position.in_check() else f"it would leave {name} in check"
