"""Which of the ranked moves to play: the likeliest, one drawn by chance, or the best by a shallow search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nlpx.xiangqi.play.alpha_beta import MATE, AlphaBeta
from nlpx.xiangqi.rules.board import Position

if TYPE_CHECKING:
    from nlpx.xiangqi.model.move_model import Ranking


@dataclass(frozen=True, slots=True)
class MoveChoice:
    """How to choose: `temperature` 0 takes the best move, which is the likeliest unless `search` plies look ahead at
    the `width` likeliest.
    """

    temperature: float = 0.0
    search: int = 0
    width: int = 8
    trust: float = 0.5  # pawns that the search adds to a move that is e times as likely


def choose(position: Position, ranking: Ranking, how: MoveChoice, random: np.random.Generator) -> int | None:
    """The move to play; None where there is no legal one: the side to move has lost."""
    chosen = choose_with_value(position, ranking, how, random)
    return None if chosen is None else chosen[0]


def choose_with_value(
    position: Position, ranking: Ranking, how: MoveChoice, random: np.random.Generator
) -> tuple[int, float | None] | None:
    """The same, and the value that the search found for the move, in pawns; None without a search."""
    if not ranking.moves:
        return None
    if how.search:
        return _drawn(searched(position, ranking, how), how, random)
    if how.temperature == 0:
        return ranking.moves[ranking.order()[0]], None
    return ranking.moves[int(random.choice(len(ranking.moves), p=ranking.probabilities(how.temperature)))], None


def _drawn(found: list[tuple[int, float]], how: MoveChoice, random: np.random.Generator) -> tuple[int, float]:
    """Drawn by value; where the search sees no difference, that is by the model's probabilities."""
    if how.temperature == 0:
        return found[0]
    values = np.array([value for _, value in found])
    weights = np.exp((values - values[0]) / (how.trust * how.temperature))
    return found[int(random.choice(len(found), p=weights / weights.sum()))]


def searched(position: Position, ranking: Ranking, how: MoveChoice) -> list[tuple[int, float]]:
    """The model proposes, material decides: (move, value in pawns) of the `width` likeliest moves, the best first.

    A move's value is what alpha-beta finds `search` plies deep, its own included, plus `trust` times its
    log-probability. A move that ends the game is found outside the proposals too.
    """
    opponent, found = AlphaBeta(how.search - 1, quiescence=4), []
    logarithms = np.log(ranking.probabilities())
    for place, index in enumerate(ranking.order()):
        position.push(ranking.moves[index])
        if not position.legal_moves():
            found.append((ranking.moves[index], MATE))
        elif place < how.width:
            value = -opponent.value(position)
            preference = how.trust * float(logarithms[index]) if abs(value) < MATE / 2 else 0.0
            found.append((ranking.moves[index], value + preference))
        position.pop()
    return sorted(found, key=lambda pair: -pair[1])
