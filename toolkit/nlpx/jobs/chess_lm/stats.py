"""Figures of a collection of games: results, lengths, and the tree of openings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from nlpx.data.opening.encodings import AUTO
from nlpx.errors import InputError
from nlpx.jobs.chess_lm.import_games import game_files
from nlpx.messages import Messages
from nlpx.xiangqi.formats.games import Rejected, read_games
from nlpx.xiangqi.formats.openings import OpeningNode, one_side, tree_rows


@dataclass
class Collection:
    """What counting keeps of the games."""

    plies: list[int] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)
    root: OpeningNode = field(default_factory=OpeningNode)
    num_rejected: int = 0

    def as_row(self) -> dict[str, Any]:
        """The figures as one JSON object, without the tree."""
        return {
            "games": len(self.plies),
            "results": dict(self.results.most_common()),
            "plies": {
                "min": min(self.plies),
                "median": median(self.plies),
                "mean": round(mean(self.plies), 2),
                "max": max(self.plies),
                "total": sum(self.plies),
            },
            "red_score": self.root.red_score,
            "from_the_start": self.root.num_games,
            "rejected": self.num_rejected,
        }


def collect(
    paths: Sequence[str], messages: Messages, *, encoding: str = AUTO, depth: int = 4, merge_mirrored: bool = False
) -> Collection:
    """Count the games of files; only those from the usual start are in the tree. Raises InputError if there is none."""
    found = Collection()
    with messages.progress(None, "games") as progress:
        for path in game_files(paths):
            for game in read_games(path, encoding):
                if isinstance(game, Rejected):
                    found.num_rejected += 1
                    continue
                found.plies.append(len(game.moves))
                found.results[game.result] += 1
                if game.start is None:
                    found.root.add((one_side(game.moves) if merge_mirrored else game.moves)[:depth], game.result)
                progress.update(len(found.plies))
    if not found.plies:
        raise InputError(f"no game in {', '.join(paths)}", hint="nlpx chess-lm import names what is wrong with each")
    if found.num_rejected:
        messages.warn(f"{found.num_rejected:,} games are not legal and were left out: nlpx chess-lm import names them")
    return found


def openings(found: Collection, *, depth: int, num_least: int, num_most: int) -> list[dict[str, Any]]:
    """Return the rows of the opening tree."""
    return list(tree_rows(found.root, depth=depth, num_least=num_least, num_most=num_most))


def plot(found: Collection, rows: Sequence[dict[str, Any]], path: Path, messages: Messages) -> bool:
    """Draw tree and lengths; returns whether there was anything to draw. Raises MachineError without matplotlib."""
    from nlpx.report.chess import plot_openings

    drawn = plot_openings(rows, found.root.num_games, found.plies, path)
    if not drawn:
        messages.warn("there is no opening to draw: all games begin from other positions")
    return drawn
