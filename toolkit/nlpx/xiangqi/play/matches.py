"""Games between two players, all at the same time, and the difference of strength that their score shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nlpx.xiangqi.play.players import Player
from nlpx.xiangqi.rules.board import Position
from nlpx.xiangqi.rules.outcome import Outcome, outcome
from nlpx.xiangqi.rules.pieces import RED

TOO_LONG = "too long"
DEVIATIONS = 1.96  # of the normal distribution: an interval of 95 %


@dataclass(slots=True)
class Played:
    """One game: the moves, how it ended, and who had Red."""

    position: Position
    first_is_red: bool
    ended: Outcome | None = None

    @property
    def points(self) -> float:
        """Of the first player: 1, 0.5 or 0."""
        if self.ended is None or self.ended.winner is None:
            return 0.5
        return float((self.ended.winner == RED) == self.first_is_red)


@dataclass(slots=True)
class Score:
    """Wins, draws and losses of the first player."""

    wins: int = 0
    draws: int = 0
    losses: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, game: Played) -> None:
        """Count a game that has ended."""
        points = game.points
        self.wins += points == 1
        self.draws += points == 0.5
        self.losses += points == 0
        reason = TOO_LONG if game.ended is None else game.ended.reason
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    @property
    def num_games(self) -> int:
        return self.wins + self.draws + self.losses

    def elo(self) -> tuple[float, float, float]:
        """How much stronger the first player is, and the 95 % interval.

        Half a win and half a loss are added, without which a clean sweep would be infinitely strong. The interval is
        that of the mean score under the observed wins, draws and losses.
        """
        wins, losses, count = self.wins + 0.5, self.losses + 0.5, self.num_games + 1
        mean = (wins + self.draws / 2) / count
        variance = (wins * (1 - mean) ** 2 + self.draws * (0.5 - mean) ** 2 + losses * mean**2) / count
        error = DEVIATIONS * math.sqrt(variance / count)
        return _elo(mean), _elo(mean - error), _elo(mean + error)


def play(
    first: Player,
    second: Player,
    openings: Sequence[Sequence[int]],
    *,
    max_plies: int = 200,
    done: Callable[[int], None] = lambda _count: None,
) -> list[Played]:
    """Play each opening twice, once with each colour; a game that is not over after `max_plies` is a draw.

    `done` is called with the number of games that have ended.
    """
    games = [Played(_after(opening), is_red) for opening in openings for is_red in (True, False)]
    unfinished, num_ended = list(games), 0
    while unfinished:
        for player, turn_of_first in ((first, True), (second, False)):
            unfinished = [game for game in unfinished if not _has_ended(game, max_plies)]
            to_move = [
                game for game in unfinished if (game.first_is_red == (game.position.turn == RED)) == turn_of_first
            ]
            for game, move in zip(to_move, player.choose([game.position for game in to_move]), strict=True):
                assert move is not None  # a game with no legal move has ended
                game.position.push(move)
        if len(games) - len(unfinished) != num_ended:
            num_ended = len(games) - len(unfinished)
            done(num_ended)
    return games


def score(games: Sequence[Played]) -> Score:
    """Add the games up."""
    total = Score()
    for game in games:
        total.add(game)
    return total


def _has_ended(game: Played, max_plies: int) -> bool:
    game.ended = outcome(game.position, sixty_moves=True)
    return game.ended is not None or len(game.position.history) >= max_plies


def _after(opening: Sequence[int]) -> Position:
    position = Position()
    for move in opening:
        position.push(move)
    return position


def _elo(fraction: float) -> float:
    fraction = min(max(fraction, 1e-4), 1 - 1e-4)
    return 400 * math.log10(fraction / (1 - fraction))
