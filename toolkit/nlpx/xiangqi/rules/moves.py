"""Move generation on a bare board: a list of 90 pieces, changed and put back in place.

What is possible by the way a piece moves is generated from tables. Whether it leaves the own king in check is only
tried out for the few moves that touch a line or a leg on which an attack on that king could open, close or be taken;
for all others the answer is that of the position before the move.
"""

from __future__ import annotations

from nlpx.xiangqi.rules.geometry import (
    ADVISOR_STEPS,
    ELEPHANT_STEPS,
    KING_STEPS,
    KNIGHT_ATTACKERS,
    KNIGHT_STEPS,
    PATHS,
    PAWN_ATTACKERS,
    PAWN_STEPS,
    RAYS,
)
from nlpx.xiangqi.rules.pieces import (
    ADVISOR,
    BLACK,
    CANNON,
    ELEPHANT,
    IS_ENEMY,
    IS_OWN,
    KIND,
    KING,
    KNIGHT,
    NUM_MOVES,
    NUM_SQUARES,
    PAWN,
    RED,
    ROOK,
    piece_of,
)

Board = list[int]

SOURCE = tuple(move // NUM_SQUARES for move in range(NUM_MOVES))
TARGET = tuple(move % NUM_SQUARES for move in range(NUM_MOVES))


def legal_moves(board: Board, color: int, king: int) -> list[int]:
    """Return every legal move of `color`, whose king stands on `king`, ordered by origin; none: it has lost."""
    found = possible_moves(board, color)
    critical = _critical_squares(board, color, king)
    in_check = is_attacked(board, king, color)
    if not in_check and len(critical) == 1:  # nothing points at the king: only its own moves can be wrong
        return [move for move in found if SOURCE[move] != king or not exposes(board, move, color, king)]
    return [
        move
        for move in found
        if (
            not exposes(board, move, color, king)
            if SOURCE[move] in critical or TARGET[move] in critical
            else not in_check
        )
    ]


def possible_moves(board: Board, color: int) -> list[int]:
    """Return the moves that pieces can make by their shape, also those that leave the own king in check."""
    is_own = IS_OWN[color]
    found: list[int] = []
    for square, piece in enumerate(board):
        if is_own[piece]:
            kind = KIND[piece]
            base = square * NUM_SQUARES
            if kind == ROOK:
                _add_rook_moves(found, board, square, is_own)
            elif kind == CANNON:
                _add_cannon_moves(found, board, square, IS_ENEMY[color])
            elif kind in _BLOCKED_STEPS:
                steps = _BLOCKED_STEPS[kind][square]
                found += [base + to for stop, to in steps if not board[stop] and not is_own[board[to]]]
            else:
                found += [base + to for to in _FREE_STEPS[piece][square] if not is_own[board[to]]]
    return found


_BLOCKED_STEPS = {KNIGHT: KNIGHT_STEPS, ELEPHANT: ELEPHANT_STEPS}
_FREE_STEPS = {
    piece_of(kind, color): steps[color]
    for color in (RED, BLACK)
    for kind, steps in ((KING, KING_STEPS), (ADVISOR, ADVISOR_STEPS), (PAWN, PAWN_STEPS))
}


def _add_rook_moves(found: list[int], board: Board, square: int, is_own: tuple[bool, ...]) -> None:
    base = square * NUM_SQUARES
    for ray in RAYS[square]:
        for to in ray:
            piece = board[to]
            if piece:
                if not is_own[piece]:
                    found.append(base + to)
                break
            found.append(base + to)


def _add_cannon_moves(found: list[int], board: Board, square: int, is_enemy: tuple[bool, ...]) -> None:
    base = square * NUM_SQUARES
    for ray in RAYS[square]:
        screened = False
        for to in ray:
            piece = board[to]
            if screened:
                if piece:
                    if is_enemy[piece]:
                        found.append(base + to)
                    break
            elif piece:
                screened = True
            else:
                found.append(base + to)


def is_possible(board: Board, move: int, color: int) -> bool:
    """Whether a piece of `color` can make this move by its shape, whatever becomes of its king."""
    piece, taken = board[SOURCE[move]], board[TARGET[move]]
    is_own = IS_OWN[color]
    path = PATHS[piece].get(move)
    if path is None or not is_own[piece] or is_own[taken]:
        return False
    num_between = 0
    for square in path:
        if board[square]:
            num_between += 1
    return num_between == (1 if taken and KIND[piece] == CANNON else 0)


def exposes(board: Board, move: int, color: int, king: int) -> bool:
    """Whether the king of `color`, on `king` before the move, could be taken after this move."""
    source, target = SOURCE[move], TARGET[move]
    taken = board[target]
    board[target] = board[source]
    board[source] = 0
    attacked = is_attacked(board, target if source == king else king, color)
    board[source] = board[target]
    board[target] = taken
    return attacked


def is_attacked(board: Board, square: int, color: int) -> bool:
    """Whether the other side attacks the king of `color` on `square`; the two kings attack each other on open files."""
    _, _, _, _, knight, _, cannon, pawn = _ATTACKERS[color]
    takes_first = _TAKES_FIRST[color]
    for ray in RAYS[square]:
        screened = False
        for to in ray:
            piece = board[to]
            if piece:
                if screened:
                    if piece == cannon:
                        return True
                    break
                if takes_first[piece]:
                    return True
                screened = True
    for leg, origin in KNIGHT_ATTACKERS[square]:
        if board[origin] == knight and not board[leg]:
            return True
    for origin in PAWN_ATTACKERS[color][square]:  # noqa: SIM110 - `any` takes twice as long
        if board[origin] == pawn:
            return True
    return False


# _ATTACKERS[color][kind]: the piece of that kind that attacks `color`.
_ATTACKERS = tuple(tuple(piece_of(kind, 1 - color) if kind else 0 for kind in range(8)) for color in (RED, BLACK))
# Kings share no rank: one that is met on a line is met on a file.
_TAKES_FIRST = tuple(
    tuple(IS_ENEMY[color][piece] and KIND[piece] in (KING, ROOK) for piece in range(15)) for color in (RED, BLACK)
)
_ON_LINES = tuple(
    tuple(IS_ENEMY[color][piece] and KIND[piece] in (KING, ROOK, CANNON) for piece in range(15))
    for color in (RED, BLACK)
)


def _critical_squares(board: Board, color: int, king: int) -> set[int]:
    """The squares a move must touch to change whether this king is attacked, and the king's own."""
    critical = {king}
    on_lines = _ON_LINES[color]
    for ray in RAYS[king]:
        num_met = num_needed = 0
        for number, to in enumerate(ray, start=1):
            piece = board[to]
            if piece:
                num_met += 1
                if on_lines[piece]:
                    num_needed = number
                if num_met == 3:  # an attacker behind two pieces cannot come through by one move
                    break
        critical.update(ray[:num_needed])
    _, _, _, _, knight, _, _, pawn = _ATTACKERS[color]
    for leg, origin in KNIGHT_ATTACKERS[king]:
        if board[origin] == knight:
            critical.add(leg)
            critical.add(origin)
    critical.update(origin for origin in PAWN_ATTACKERS[color][king] if board[origin] == pawn)
    return critical
