"""Players: a model, chance, greed, or the small engine. Each chooses for many games at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nlpx.errors import UsageError
from nlpx.xiangqi.play.alpha_beta import MATERIAL, AlphaBeta
from nlpx.xiangqi.play.choose import MoveChoice, choose
from nlpx.xiangqi.rules.board import Position
from nlpx.xiangqi.rules.moves import TARGET
from nlpx.xiangqi.rules.pieces import KIND

if TYPE_CHECKING:
    from nlpx.xiangqi.model.move_model import MoveModel

NAMES = ("random", "capture", "alpha-beta-1", "alpha-beta-2", "alpha-beta-3")


class Player(Protocol):
    """Chooses moves."""

    name: str

    def choose(self, positions: Sequence[Position]) -> list[int | None]:
        """A legal move in each position; None where there is none."""
        ...


class RandomPlayer:
    """Any legal move."""

    name = "random"

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def choose(self, positions: Sequence[Position]) -> list[int | None]:
        """One of the legal moves, each as likely."""
        return [_any(position.legal_moves(), self.random) for position in positions]


class CapturePlayer:
    """Takes the most valuable piece that can be taken, else any legal move."""

    name = "capture"

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def choose(self, positions: Sequence[Position]) -> list[int | None]:
        """A move that takes most, by material; among equal ones any."""
        return [self._choose(position) for position in positions]

    def _choose(self, position: Position) -> int | None:
        moves = position.legal_moves()
        prey = [MATERIAL.get(KIND[position.board[TARGET[move]]], 0.0) for move in moves]
        most = max(prey, default=0.0)
        return _any([move for move, value in zip(moves, prey, strict=True) if value == most], self.random)


class AlphaBetaPlayer:
    """The small engine at a fixed depth; among equally good moves any."""

    def __init__(self, depth: int, random: np.random.Generator) -> None:
        self.name, self.random, self.engine = f"alpha-beta-{depth}", random, AlphaBeta(depth)

    def choose(self, positions: Sequence[Position]) -> list[int | None]:
        """A best move by search."""
        return [_any(self.engine.best(position), self.random) for position in positions]


class ModelPlayer:
    """A language model of games; it reads on where it stopped in each of them."""

    def __init__(self, model: MoveModel, how: MoveChoice, random: np.random.Generator) -> None:
        self.name, self.how, self.random = model.name, how, random
        self.reader = model.read()

    def choose(self, positions: Sequence[Position]) -> list[int | None]:
        """As `how` says, from one call of the model for all games."""
        rankings = self.reader.rank(positions)
        pairs = zip(positions, rankings, strict=True)
        return [choose(position, ranking, self.how, self.random) for position, ranking in pairs]


def opponent(name: str, random: np.random.Generator) -> Player:
    """One of `NAMES`. Raises what `check_name` raises."""
    check_name(name)
    if name == "random":
        return RandomPlayer(random)
    if name == "capture":
        return CapturePlayer(random)
    return AlphaBetaPlayer(int(name[-1]), random)


def check_name(name: str) -> None:
    """Raise `UsageError` with near names for what is none of `NAMES`."""
    from nlpx.configuration.registry import unknown

    if name not in NAMES:
        message, hint = unknown("player", name, NAMES)
        raise UsageError(message, hint=hint)


def _any(moves: Sequence[int], random: np.random.Generator) -> int | None:
    return moves[int(random.integers(len(moves)))] if moves else None
