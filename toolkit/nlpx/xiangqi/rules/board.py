"""A position that can be played on: pieces, side to move, and the way back."""

from __future__ import annotations

from typing import ClassVar

from nlpx.xiangqi.rules.fen import START, Setup, parse_fen, write_fen
from nlpx.xiangqi.rules.geometry import AROUND_KING
from nlpx.xiangqi.rules.moves import SOURCE, TARGET, exposes, is_attacked, is_possible, legal_moves
from nlpx.xiangqi.rules.pieces import BLACK, KIND, KING, LETTERS, RED

__all__ = ["BLACK", "RED", "START", "Position"]


class Position:
    """A board with a side to move, its moves so far, and the number of plies since the last capture.

    `Position()` is the usual start. `board` holds the pieces by square, as `nlpx.xiangqi.rules.pieces` numbers them.
    """

    START: ClassVar[str] = START

    def __init__(self, setup: Setup | None = None) -> None:
        setup = setup or _START
        self.board = list(setup.board)
        self.turn = setup.turn
        self.quiet_plies = setup.quiet_plies  # since the last capture
        self.first_ply = setup.first_ply  # of the game, at which `history` begins
        self.history: list[int] = []
        self._kings = [self.board.index(color * 7 + KING) for color in (RED, BLACK)]
        self._undo: list[tuple[int, int, bool | None]] = []
        self._in_check: bool | None = None  # not worked out yet

    @classmethod
    def from_fen(cls, text: str) -> Position:
        """Read and check a FEN; raises InputError that names every rule the position breaks."""
        return cls(parse_fen(text))

    def fen(self) -> str:
        """Write the position with its counters; what `from_fen` reads."""
        setup = Setup(tuple(self.board), self.turn, self.quiet_plies, self.first_ply + len(self.history))
        return write_fen(setup)

    @property
    def key(self) -> bytes:
        """What makes two positions the same for repetition: the pieces and the side to move, exactly."""
        return bytes((*self.board, self.turn))

    def piece_at(self, square: int) -> str | None:
        """Return the FEN letter of the piece on a square, None for an empty one."""
        piece = self.board[square]
        return LETTERS[piece] if piece else None

    def king_square(self, color: int) -> int:
        """Return where the king of a colour stands."""
        return self._kings[color]

    def legal_moves(self) -> list[int]:
        """Return all legal moves, ordered by origin; none means that the side to move has lost."""
        return legal_moves(self.board, self.turn, self._kings[self.turn])

    def is_legal(self, move: int) -> bool:
        """Whether a move (0 to 8099) is legal; much faster than generating all of them."""
        if not is_possible(self.board, move, self.turn):
            return False
        king = self._kings[self.turn]
        around = AROUND_KING[king]
        if SOURCE[move] in around or TARGET[move] in around:
            return not exposes(self.board, move, self.turn, king)
        return not self.in_check()

    def in_check(self) -> bool:
        """Whether the king of the side to move is attacked."""
        if self._in_check is None:
            self._in_check = is_attacked(self.board, self._kings[self.turn], self.turn)
        return self._in_check

    def push(self, move: int) -> None:
        """Make a move, which must be legal: nothing is checked."""
        board, source, target = self.board, SOURCE[move], TARGET[move]
        taken = board[target]
        piece = board[target] = board[source]
        board[source] = 0
        if KIND[piece] == KING:
            self._kings[self.turn] = target
        self.history.append(move)
        self._undo.append((taken, self.quiet_plies, self._in_check))
        self.quiet_plies = 0 if taken else self.quiet_plies + 1
        self.turn = 1 - self.turn
        # The other king was not attacked before, so only a move that touches its lines can have changed that.
        around = AROUND_KING[self._kings[self.turn]]
        self._in_check = None if target in around or source in around else False

    def pop(self) -> int:
        """Take the last move back and return it; raises IndexError if there is none."""
        move = self.history.pop()
        taken, self.quiet_plies, self._in_check = self._undo.pop()
        self.turn = 1 - self.turn
        board, source, target = self.board, SOURCE[move], TARGET[move]
        board[source], board[target] = board[target], taken
        if KIND[board[source]] == KING:
            self._kings[self.turn] = source
        return move

    def copy(self) -> Position:
        """Return a position with a board and a history of its own."""
        other = Position.__new__(Position)
        other.board, other.turn = self.board.copy(), self.turn
        other.quiet_plies, other.first_ply = self.quiet_plies, self.first_ply
        other.history, other._kings = self.history.copy(), self._kings.copy()
        other._undo, other._in_check = self._undo.copy(), self._in_check
        return other


_START = parse_fen(START)
