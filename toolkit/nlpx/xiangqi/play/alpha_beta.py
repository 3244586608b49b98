"""A small engine of our own: alpha-beta over material and a few rules of where pieces stand; a yardstick only.

Scores are pawns from the side to move; a mate counts `MATE` less a pawn a ply.
"""

from __future__ import annotations

from nlpx.xiangqi.rules.board import Position
from nlpx.xiangqi.rules.moves import SOURCE, TARGET
from nlpx.xiangqi.rules.pieces import (
    ADVISOR,
    CANNON,
    COLOR,
    ELEPHANT,
    KIND,
    KING,
    KNIGHT,
    NUM_FILES,
    NUM_SQUARES,
    PAWN,
    RED,
    ROOK,
)

MATE = 1000.0  # pawns: far above all material together
MATERIAL = {KING: 0.0, ROOK: 9.0, CANNON: 4.5, KNIGHT: 4.0, ELEPHANT: 2.0, ADVISOR: 2.0, PAWN: 1.0}


def _value(piece: int, square: int) -> float:
    """The value of a piece on a square, from Red's side: material, the centre, the river crossed."""
    kind, color = KIND[piece], COLOR[piece]
    rank, file = divmod(square, NUM_FILES)
    advanced, off_centre = (rank if color == RED else 9 - rank), abs(file - 4)
    value = MATERIAL[kind]
    if kind == PAWN and advanced >= 5:
        value += 1.0 - 0.1 * off_centre - (0.8 if advanced == 9 else 0.0)  # a pawn on the last rank only goes sideways
    elif kind == KNIGHT:
        value += 0.1 * min(advanced, 6) - 0.05 * off_centre
    elif kind == ROOK:
        value += 0.2 if advanced else 0.0
    elif kind == CANNON:
        value += 0.1 * (4 - off_centre) / 4
    elif kind == KING:
        value -= 0.2 * advanced
    return value if color == RED else -value


VALUES = tuple(tuple(_value(piece, square) if piece else 0.0 for square in range(NUM_SQUARES)) for piece in range(15))


def material(position: Position) -> float:
    """How much better the side to move stands, in pawns."""
    total = 0.0
    for square, piece in enumerate(position.board):
        if piece:
            total += VALUES[piece][square]
    return total if position.turn == RED else -total


class AlphaBeta:
    """Searches `depth` plies, then captures alone for `quiescence` more."""

    def __init__(self, depth: int, *, quiescence: int = 0) -> None:
        self.depth, self.quiescence = depth, quiescence

    def value(self, position: Position) -> float:
        """The value of the position to the side to move."""
        return self._search(position, self.depth, -MATE, MATE, 0)

    def best(self, position: Position) -> list[int]:
        """The moves that are equally best, in the order of the legal moves; none if there is no legal move."""
        found: list[int] = []
        highest = -2 * MATE
        for move in _likely_first(position, position.legal_moves()):
            position.push(move)
            # A window a little wider than the best so far: equal moves get their exact value.
            value = -self._search(position, self.depth - 1, -MATE, -highest + 1e-6, 1)
            position.pop()
            if value > highest + 1e-9:
                highest, found = value, [move]
            elif abs(value - highest) <= 1e-9:
                found.append(move)
        return sorted(found)

    def _search(self, position: Position, depth: int, alpha: float, beta: float, ply: int) -> float:
        if depth <= 0:
            return self._captures(position, self.quiescence, alpha, beta)
        moves = position.legal_moves()
        if not moves:
            return ply - MATE
        highest = -2 * MATE
        for move in _likely_first(position, moves):
            position.push(move)
            value = -self._search(position, depth - 1, -beta, -max(alpha, highest), ply + 1)
            position.pop()
            highest = max(highest, value)
            if highest >= beta:
                break
        return highest

    def _captures(self, position: Position, depth: int, alpha: float, beta: float) -> float:
        standing = material(position)
        if depth == 0 or standing >= beta:
            return standing
        highest = standing
        board = position.board
        for move in _likely_first(position, [move for move in position.legal_moves() if board[TARGET[move]]]):
            position.push(move)
            value = -self._captures(position, depth - 1, -beta, -max(alpha, highest))
            position.pop()
            highest = max(highest, value)
            if highest >= beta:
                break
        return highest


def _likely_first(position: Position, moves: list[int]) -> list[int]:
    """Captures first, the biggest prey of the smallest hunter before the others: what cuts off most."""
    board = position.board

    def gain(move: int) -> float:
        prey = board[TARGET[move]]
        return 10 * MATERIAL[KIND[prey]] - MATERIAL[KIND[board[SOURCE[move]]]] + 100 if prey else 0.0

    return sorted(moves, key=gain, reverse=True)
