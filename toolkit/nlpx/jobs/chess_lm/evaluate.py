"""`nlpx chess-lm evaluate`: a model against masters' moves, against the rules, against players, on positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError

if TYPE_CHECKING:
    from nlpx.messages import Messages
    from nlpx.xiangqi.formats.games import Game
    from nlpx.xiangqi.model.move_model import MoveModel
    from nlpx.xiangqi.play.choose import MoveChoice


OPPONENTS = ("random", "capture", "alpha-beta-1")


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured."""

    encoding: str = "auto"
    num_games: int = 200  # of masters, spread evenly over the held-out ones
    every_game: bool = False  # also those the model may have learned
    written_games: int = 64  # that the model writes by itself
    opponents: tuple[str, ...] = OPPONENTS
    pairs: int = 10  # of games against each, an opening played with both colours
    max_plies: int = 200
    seed: int = 7


def evaluate(
    model: MoveModel, paths: Sequence[str], settings: Settings, how: MoveChoice, messages: Messages
) -> dict[str, Any]:
    """All figures as one object. Raises `InputError` if no game is left to compare with."""
    import numpy as np

    from nlpx.xiangqi.model.measures import by_phase, legality, openings, predictions, write_games_freely

    games = _games_of_masters(paths, model, settings, messages)
    messages.note(f"{len(games)} games of masters, {sum(len(game.moves) for game in games):,} moves")
    random = np.random.default_rng(settings.seed)
    masters = by_phase(predictions(model, games))
    written = write_games_freely(model, settings.written_games, random) if settings.written_games else []
    return {
        "model": model.name,
        "tokens": model.vocabulary.form,
        "games": len(games),
        "masters": masters,
        "written": legality(written),
        "openings": openings(written, games),
        "matches": _matches(model, games, settings, how, messages),
    }


def solve(model: MoveModel, paths: Sequence[str], settings: Settings, how: MoveChoice) -> list[dict[str, Any]]:
    """How often the first move of each position's line is the model's first, or among its first five, by kind."""
    from nlpx.xiangqi.formats.games import Rejected, read_games
    from nlpx.xiangqi.rules.board import Position

    found = [game for path in paths for game in read_games(path, settings.encoding) if not isinstance(game, Rejected)]
    reader = model.read()
    tallies: dict[str, dict[str, int]] = {}
    for game in found[: settings.num_games]:
        position = Position() if game.start is None else Position.from_fen(game.start)
        moves = _ranked(position, reader.rank([position])[0], how)
        place = moves.index(game.moves[0]) if game.moves[0] in moves else len(moves)
        for kind in ("all", str(game.tags.get("kind", "unnamed"))):
            tally = tallies.setdefault(kind, {"positions": 0, "first": 0, "top_five": 0})
            tally["positions"] += 1
            tally["first"] += place == 0
            tally["top_five"] += place < 5
    if not tallies:
        raise InputError(f"{', '.join(map(str, paths))}: no position in it", hint="JSON lines with `fen` and `moves`")
    return [{"kind": kind, **tally} for kind, tally in tallies.items()]


def _ranked(position: Any, ranking: Any, how: MoveChoice) -> list[int]:
    from nlpx.xiangqi.play.choose import searched

    if how.search and ranking.moves:
        return [move for move, _ in searched(position, ranking, how)]
    return [move for move, _ in ranking.best()]


def _games_of_masters(paths: Sequence[str], model: MoveModel, settings: Settings, messages: Messages) -> list[Game]:
    """The games to compare with: those that were held out in training, unless all are wanted."""
    from nlpx.data.batches.bucketing import evenly_spaced
    from nlpx.jobs.chess_lm.job import read_complete_games
    from nlpx.xiangqi.model.games import is_held_out

    games = read_complete_games(paths, settings.encoding, messages)
    fraction = float(model.facts.get("held_out", 1.0))
    if not settings.every_game:
        games = [game for game in games if is_held_out(game, fraction)]
    if not games:
        raise InputError(
            f"{', '.join(paths)}: no game that was held out in training", hint="--all-games takes every game"
        )
    return [games[index] for index in evenly_spaced(len(games), settings.num_games).tolist()]


def _matches(
    model: MoveModel, games: Sequence[Game], settings: Settings, how: MoveChoice, messages: Messages
) -> list[dict[str, Any]]:
    """Games against each opponent, from the beginnings of masters' games, so that no two are alike."""
    import numpy as np

    from nlpx.xiangqi.model.measures import OPENING_PLIES
    from nlpx.xiangqi.play.matches import play, score
    from nlpx.xiangqi.play.players import ModelPlayer, opponent

    rows = []
    for number, name in enumerate(settings.opponents if settings.pairs else ()):
        random = np.random.default_rng([settings.seed, number])
        chosen = random.permutation(len(games))[: settings.pairs]
        begun = [games[index].moves[:OPENING_PLIES] for index in chosen.tolist()]
        with messages.progress(2 * len(begun), f"against {name}") as progress:
            players = ModelPlayer(model, how, random), opponent(name, random)
            played = play(*players, begun, max_plies=settings.max_plies, done=progress.update)
        total = score(played)
        elo, low, high = (round(value) for value in total.elo())
        counts = {"wins": total.wins, "draws": total.draws, "losses": total.losses}
        rows.append({"against": name, **counts, "elo": elo, "low": low, "high": high, "ended": total.reasons})
    return rows
