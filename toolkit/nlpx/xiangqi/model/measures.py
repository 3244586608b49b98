"""Measures of a model of moves: how well it predicts masters, how legal its own games are, which openings it plays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpx.xiangqi.rules.board import Position
from nlpx.xiangqi.rules.outcome import outcome

if TYPE_CHECKING:
    from nlpx.xiangqi.formats.games import Game
    from nlpx.xiangqi.model.move_model import MoveModel, Ranking

PHASES = {"opening, plies 1-20": 20, "middle, plies 21-60": 60, "late, from ply 61": 10_000}
AT_ONCE = 32  # games in one call of the model
OPENING_PLIES = 6  # three moves of each side
MAX_PLIES = 300  # of a game that the model writes by itself


@dataclass(slots=True)
class PredictionTally:
    """Sums over the moves of masters in one phase."""

    moves: int = 0
    first: int = 0
    top_five: int = 0
    log_probability: float = 0.0
    log_among_legal: float = 0.0
    mass: float = 0.0
    legal_first: int = 0

    def add(self, ranking: Ranking, move: int) -> None:
        """Count the model's prediction of a move that was played."""
        index = ranking.moves.index(move)
        played = ranking.log_probabilities[index]
        num_likelier = int((ranking.log_probabilities > played).sum())
        self.moves += 1
        self.first += num_likelier == 0
        self.top_five += num_likelier < 5
        self.log_probability += float(played)
        self.log_among_legal += float(np.log(ranking.probabilities()[index]))
        self.mass += ranking.mass
        self.legal_first += ranking.first_choice is not None

    def figures(self) -> dict[str, Any]:
        """Fractions and perplexities; None where nothing was counted."""
        if not self.moves:
            names = ("top_1", "top_5", "perplexity", "among_legal", "legal_mass", "legal_first")
            return {"moves": 0} | dict.fromkeys(names)
        return {
            "moves": self.moves,
            "top_1": self.first / self.moves,
            "top_5": self.top_five / self.moves,
            "perplexity": _exp(-self.log_probability / self.moves),
            "among_legal": _exp(-self.log_among_legal / self.moves),
            "legal_mass": self.mass / self.moves,
            "legal_first": self.legal_first / self.moves,
        }


def predictions(model: MoveModel, games: Sequence[Game]) -> Iterator[tuple[int, Ranking, int]]:
    """Yield (ply from 0, ranking, the move played) of every move of the games, many of them side by side."""
    longest_first = sorted(games, key=lambda game: -len(game.moves))
    for start in range(0, len(longest_first), AT_ONCE):
        reader, unfinished = model.read(), [(Position(), game) for game in longest_first[start : start + AT_ONCE]]
        for ply in range(len(unfinished[0][1].moves)):
            unfinished = [(position, game) for position, game in unfinished if ply < len(game.moves)]
            rankings = reader.rank([position for position, _ in unfinished])
            for (position, game), ranking in zip(unfinished, rankings, strict=True):
                yield ply, ranking, game.moves[ply]
                position.push(game.moves[ply])


def by_phase(predicted: Iterator[tuple[int, Ranking, int]]) -> dict[str, dict[str, Any]]:
    """The figures of all moves, and of each phase."""
    tallies = {"all": PredictionTally()} | {name: PredictionTally() for name in PHASES}
    for ply, ranking, move in predicted:
        phase = next(name for name, last in PHASES.items() if ply < last)
        for name in ("all", phase):
            tallies[name].add(ranking, move)
    return {name: tally.figures() for name, tally in tallies.items()}


@dataclass(frozen=True, slots=True)
class Written:
    """A game the model wrote by itself: the moves, and whether an illegal one ended it."""

    moves: list[int]
    ended_illegally: bool


def write_games_freely(
    model: MoveModel, num_games: int, random: np.random.Generator, *, max_plies: int = MAX_PLIES
) -> list[Written]:
    """Games drawn from the model with nothing masked, each up to its first illegal move or its end.

    A move is illegal with the probability that the model leaves for illegal ones: which one it would
    have been does not matter.
    """
    reader, unfinished = model.read(), [Position() for _ in range(num_games)]
    written = []
    while unfinished:
        rankings, still = reader.rank(unfinished), []
        for position, ranking in zip(unfinished, rankings, strict=True):
            if len(position.history) >= max_plies or outcome(position, moves=list(ranking.moves)) is not None:
                written.append(Written(position.history, ended_illegally=False))
            elif random.random() >= ranking.mass:
                written.append(Written(position.history, ended_illegally=True))
            else:
                position.push(ranking.moves[int(random.choice(len(ranking.moves), p=ranking.probabilities()))])
                still.append(position)
        unfinished = still
    return written


def legality(written: Sequence[Written], *, every: int = 20) -> dict[str, Any]:
    """Plies until the first illegal move, and the fraction of legal moves, by ply."""
    lengths = [len(game.moves) for game in written]
    rates = []
    for start in range(0, max(lengths, default=0) + 1, every):
        legal = sum(min(max(length - start, 0), every) for length in lengths)
        illegal = sum(game.ended_illegally and start <= len(game.moves) < start + every for game in written)
        if legal + illegal:
            rates.append({"plies": f"{start + 1}-{start + every}", "legal": legal / (legal + illegal)})
    return {
        "games": len(written),
        "mean_plies": float(np.mean(lengths)) if lengths else None,
        "median_plies": float(np.median(lengths)) if lengths else None,
        "without_illegal": sum(not game.ended_illegally for game in written),
        "legal_rate": sum(lengths) / max(1, sum(lengths) + sum(game.ended_illegally for game in written)),
        "by_ply": rates,
    }


def openings(written: Sequence[Written], games: Sequence[Game], *, plies: int = OPENING_PLIES) -> dict[str, Any]:
    """How many beginnings the model plays, how many of them masters play, and how much of masters' play they are."""
    played = {tuple(game.moves[:plies]) for game in written if len(game.moves) >= plies}
    masters = Counter(tuple(game.moves[:plies]) for game in games if len(game.moves) >= plies)
    known = [line for line in played if line in masters]
    return {
        "plies": plies,
        "distinct": len(played),
        "known_to_masters": len(known) / len(played) if played else None,
        "fraction_of_masters_games": sum(masters[line] for line in known) / max(1, masters.total()),
    }


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))
