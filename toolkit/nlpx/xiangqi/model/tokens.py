"""Games as tokens: the four characters of a move's coordinates, or one token a move; and, on request, who is to win.

A game is a start token and its moves, nothing between and nothing after them. The start is [PAD], or with `results`
the token of the result, so that a model can be prompted for the moves of a side that wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from nlpx.xiangqi.formats.notation import ICCS
from nlpx.xiangqi.rules.fen import START, parse_fen
from nlpx.xiangqi.rules.geometry import PATHS
from nlpx.xiangqi.rules.moves import SOURCE, TARGET
from nlpx.xiangqi.rules.pieces import BLACK, NUM_MOVES, RED, RESULT_OF_WINNER

Form = Literal["characters", "moves"]

PAD = "[PAD]"
CHARACTERS = tuple("0123456789abcdefghi")
RESULTS = ("*", "1-0", "1/2-1/2", "0-1")  # the first: unknown


def possible_moves() -> tuple[int, ...]:
    """Every move that some piece can ever make, in order: 2,086 of the 8,100 pairs of squares."""
    board = parse_fen(START).board
    return tuple(sorted({move for piece in set(board) for move in _reachable(piece, board)}))


def _reachable(piece: int, board: Sequence[int]) -> set[int]:
    """The moves of a piece from where it starts, from there, and so on: not all points are open to elephants."""
    reached = {square for square, stands in enumerate(board) if stands == piece}
    while True:
        moves = {move for move in PATHS[piece] if SOURCE[move] in reached}
        further = reached | {TARGET[move] for move in moves}
        if further == reached:
            return moves
        reached = further


class MoveVocabulary:
    """Tokens of one form. `per_move` tokens make a move; id 0 is [PAD], which also begins a game without a result."""

    def __init__(self, form: Form = "moves", *, results: bool = False) -> None:
        self.form, self.has_results = form, results
        moves = possible_moves()
        names = CHARACTERS if form == "characters" else tuple(ICCS[move] for move in moves)
        self.tokens = (PAD, *names, *(RESULTS if results else ()))
        self.per_move = 4 if form == "characters" else 1
        ids = {token: number for number, token in enumerate(self.tokens)}
        self._starts = {result: ids.get(result, 0) for result in RESULTS}
        self.ids_of_move = (
            {move: tuple(ids[part] for part in ICCS[move]) for move in range(len(ICCS))}
            if form == "characters"
            else {move: (ids[ICCS[move]],) for move in moves}
        )
        self._move_of_ids = {ids: move for move, ids in self.ids_of_move.items()}
        self.table = np.zeros((NUM_MOVES, self.per_move), dtype=np.int64)  # the same for many moves at once
        self.table[list(self.ids_of_move)] = list(self.ids_of_move.values())

    @property
    def vocab_size(self) -> int:
        """Number of tokens: 20 characters or 2,087 moves, and 4 results if there are any."""
        return len(self.tokens)

    def start(self, result: str = "*") -> int:
        """The token a game begins with, given its result."""
        return self._starts[result]

    def start_for(self, color: int) -> int:
        """The token of a game that this side wins."""
        return self._starts[RESULT_OF_WINNER[color]]

    def encode(self, moves: Sequence[int]) -> list[int]:
        """Moves as ids, `per_move` each, without the start."""
        return [token for move in moves for token in self.ids_of_move[move]]

    def decode(self, ids: Sequence[int]) -> list[int | None]:
        """Ids as moves, without the start; None for four characters that are no move."""
        groups = zip(*[iter(ids)] * self.per_move, strict=True)
        return [self._move_of_ids.get(group) for group in groups]

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` needs."""
        return {"tokens": self.form, "results": self.has_results}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> MoveVocabulary:
        """The vocabulary that `to_dict` describes."""
        return cls(stored["tokens"], results=stored["results"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MoveVocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)


def losing_side(result: str) -> int | None:
    """The colour that lost, None after a draw or without a result."""
    return {"1-0": BLACK, "0-1": RED}.get(result)
