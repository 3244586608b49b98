"""Games as rows to learn from: tokens, which of them are targets, mirrored or not; and which games are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlpx.xiangqi.formats.notation import iccs
from nlpx.xiangqi.model.tokens import RESULTS, MoveVocabulary, losing_side
from nlpx.xiangqi.rules.pieces import mirrored

if TYPE_CHECKING:
    from nlpx.data.batches.packing import PackedRow
    from nlpx.xiangqi.formats.games import Game

UNKNOWN_FRACTION = 0.1  # of the games hide their result token, so that a model also learns the unknown one


@dataclass(frozen=True, slots=True)
class TrainingGames:
    """Games with the settings that make rows of them. A row is the start token and whole moves."""

    games: Sequence[Game]
    vocabulary: MoveVocabulary
    max_length: int
    winner_only: bool = False
    mirror: float = 0.0

    def __len__(self) -> int:
        return len(self.games)

    @property
    def max_plies(self) -> int:
        """Moves that fit into a row behind the start."""
        return (self.max_length - 1) // self.vocabulary.per_move

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        per_move, most = self.vocabulary.per_move, self.max_plies
        return [1 + per_move * min(len(game.moves), most) for game in self.games]

    def row(self, index: int, random: np.random.Generator, *, plies: int | None = None) -> tuple[PackedRow, Any]:
        """One game, by chance mirrored and with its result hidden; and which tokens are targets, (T,)."""
        game = self.games[index]
        moves = game.moves[: self.max_plies if plies is None else min(plies, self.max_plies)]
        hidden, turned = random.random(2)
        if turned < self.mirror:
            moves = [mirrored(move) for move in moves]
        result = RESULTS[0] if hidden < UNKNOWN_FRACTION else game.result
        ids = [self.vocabulary.start(result), *self.vocabulary.encode(moves)]
        return _packed(ids), self._targets(game, len(moves))

    def _targets(self, game: Game, num_moves: int) -> NDArray[np.bool_]:
        loser = losing_side(game.result) if self.winner_only else None
        mover = (np.arange(num_moves) + first_color(game)) % 2
        learned = np.ones(num_moves, dtype=bool) if loser is None else mover != loser
        return np.concatenate([[False], learned.repeat(self.vocabulary.per_move)])


def first_color(game: Game) -> int:
    """Who makes the first move of a game: Red, unless it starts from a position with Black to move."""
    return int(game.start is not None and game.start.split()[1:2] == ["b"])


def is_held_out(game: Game, fraction: float) -> bool:
    """Whether a game is held out: by a hash of its moves, which its mirror image shares."""
    forms = (game.moves, [mirrored(move) for move in game.moves])
    text = min(" ".join(map(iccs, form)) for form in forms)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") < fraction * 2**64


def _packed(ids: list[int]) -> PackedRow:
    from nlpx.data.batches.packing import PackedRow

    tokens = np.array(ids, dtype=np.int64)
    return PackedRow(tokens, np.ones(len(ids), dtype=bool), np.zeros_like(tokens), np.zeros(len(ids), dtype=bool))
