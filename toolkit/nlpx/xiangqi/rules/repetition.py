"""Who loses by repeating a position.

What the Asian and the world federation publish has this core, which is what is judged here. When a position stands for
the third time with the same side to move, the moves since its first time are looked at:

1. Who gave check with every move loses; if both did, it is a draw.
2. Else, who chased the same piece with every move loses; if both did, it is a draw.
3. Else it is a draw.

A piece is chased if after the move it could be taken by a legal move, and could not before. Kings and pawns may chase;
kings, and pawns that have not crossed the river, may be chased. A protected piece is not chased, unless it is a rook
attacked by a knight or cannon; nor is a piece that could itself take an attacker of its own kind.

Simplified against the full rules with their 110 examples: alternating checks and chases are a draw, as are threats of
mate; a chase by two pieces in turn counts as one chase; a piece is protected if its captor could be taken, whatever
that would cost; pieces that are pinned in several ways are judged by the legal moves alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlpx.xiangqi.rules.geometry import in_own_half
from nlpx.xiangqi.rules.moves import SOURCE, TARGET, Board, exposes, is_possible
from nlpx.xiangqi.rules.pieces import (
    BLACK,
    CANNON,
    COLOR,
    IS_OWN,
    KIND,
    KING,
    KNIGHT,
    NUM_SQUARES,
    PAWN,
    RED,
    ROOK,
)

if TYPE_CHECKING:
    from nlpx.xiangqi.rules.board import Position

SHORTEST_CYCLE = 4  # plies


def judge_repetition(position: Position, repetitions: int = 3) -> tuple[int | None, str] | None:
    """Return (winner or None, reason) if the position stands for the `repetitions`-th time, else None."""
    if min(position.quiet_plies, len(position.history)) < SHORTEST_CYCLE * (repetitions - 1):
        return None
    first = _first_time(position, repetitions)
    if first is None:
        return None
    checks, chases = _pressed(first, position.history[len(first.history) :])
    for offenders, name in ((checks, "perpetual check"), (chases, "perpetual chase")):
        if len(offenders) == 1:
            return 1 - offenders[0], name
        if offenders:
            return None, f"{name} by both sides"
    return None, "repetition"


def _first_time(position: Position, repetitions: int) -> Position | None:
    """The position at the first of its last `repetitions` occurrences, with the history until then."""
    back = position.copy()
    num_times = 1
    # A capture ends the search: what stood before it can never stand again.
    for _ in range(min(position.quiet_plies, len(position.history)) // 2):
        back.pop()
        back.pop()
        if back.board == position.board:
            num_times += 1
            if num_times == repetitions:
                return back
    return None


def _pressed(first: Position, moves: list[int]) -> tuple[list[int], list[int]]:
    """The sides that checked, and those that chased one and the same piece, with every one of `moves`."""
    replay = first.copy()
    names = {
        square: square for square, piece in enumerate(replay.board) if piece
    }  # a piece is named by its first square
    always_checked = {RED: True, BLACK: True}
    always_chased: dict[int, set[int] | None] = {RED: None, BLACK: None}
    for move in moves:
        mover = replay.turn
        before = {names[square] for square in chased_squares(replay, mover)}
        replay.push(move)
        names[TARGET[move]] = names.pop(SOURCE[move])
        fresh = {names[square] for square in chased_squares(replay, mover)} - before
        known = always_chased[mover]
        always_chased[mover] = fresh if known is None else known & fresh
        always_checked[mover] &= replay.in_check()
    return [color for color, always in always_checked.items() if always], [
        color for color, chased in always_chased.items() if chased
    ]


def chased_squares(position: Position, chaser: int) -> set[int]:
    """Return where the pieces stand that `chaser` would chase if it were to move, whoever is."""
    board, king = position.board, position.king_square(chaser)
    prey = [square for square, piece in enumerate(board) if piece and _may_be_chased(piece, square, 1 - chaser)]
    hunters = [
        square for square, piece in enumerate(board) if IS_OWN[chaser][piece] and KIND[piece] not in (KING, PAWN)
    ]
    return {
        square
        for square in prey
        if any(_chases(position, hunter * NUM_SQUARES + square, chaser, king) for hunter in hunters)
    }


def _may_be_chased(piece: int, square: int, color: int) -> bool:
    kind = KIND[piece]
    return COLOR[piece] == color and kind != KING and not (kind == PAWN and in_own_half(square, color))


def _chases(position: Position, move: int, chaser: int, king: int) -> bool:
    board = position.board
    if not is_possible(board, move, chaser) or exposes(board, move, chaser, king):
        return False
    hunter, prey = KIND[board[SOURCE[move]]], KIND[board[TARGET[move]]]
    victim_king = position.king_square(1 - chaser)
    if hunter == prey and _can_take(board, TARGET[move], SOURCE[move], 1 - chaser, victim_king):
        return False
    if prey == ROOK and hunter in (KNIGHT, CANNON):
        return True
    return not _is_protected(board, move, 1 - chaser, victim_king)


def _is_protected(board: Board, move: int, color: int, king: int) -> bool:
    """Whether `color` could take back on the target of a capture."""
    source, target = SOURCE[move], TARGET[move]
    taken = board[target]
    board[target], board[source] = board[source], 0
    protected = any(
        IS_OWN[color][piece] and _can_take(board, square, target, color, king) for square, piece in enumerate(board)
    )
    board[source], board[target] = board[target], taken
    return protected


def _can_take(board: Board, source: int, target: int, color: int, king: int) -> bool:
    move = source * NUM_SQUARES + target
    return is_possible(board, move, color) and not exposes(board, move, color, king)
