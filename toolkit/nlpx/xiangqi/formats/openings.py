"""The tree of the first moves of many games: how often each was played, and with what success for Red."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nlpx.xiangqi.formats.notation import ICCS, chinese
from nlpx.xiangqi.rules.board import Position
from nlpx.xiangqi.rules.pieces import mirrored

_POINTS = {"1-0": 1.0, "1/2-1/2": 0.5, "0-1": 0.0}


@dataclass
class OpeningNode:
    """A position of the tree: the results of the games that came there, and what was played on."""

    results: Counter[str] = field(default_factory=Counter)
    children: dict[int, OpeningNode] = field(default_factory=dict)

    @property
    def num_games(self) -> int:
        return self.results.total()

    @property
    def red_score(self) -> float | None:
        """Mean points of Red, 1 for a win and 0.5 for a draw; None without a single known result."""
        known = [(count, _POINTS[result]) for result, count in self.results.items() if result in _POINTS]
        total = sum(count for count, _ in known)
        return sum(count * points for count, points in known) / total if total else None

    def add(self, moves: Sequence[int], result: str) -> None:
        """Count a game down to its last given move."""
        node = self
        node.results[result] += 1
        for move in moves:
            node = node.children.setdefault(move, OpeningNode())
            node.results[result] += 1

    def most_played(self, num_least: int = 1, num_most: int | None = None) -> list[tuple[int, OpeningNode]]:
        """Return moves with at least so many games, the most frequent first, equal ones by move."""
        found = [(move, node) for move, node in self.children.items() if node.num_games >= num_least]
        return sorted(found, key=lambda pair: (-pair[1].num_games, pair[0]))[:num_most]


def one_side(moves: Sequence[int]) -> list[int]:
    """Return a game or its mirror image, so that both are counted as one: the first uneven move goes on Red's right."""
    return max(list(moves), [mirrored(move) for move in moves])


def tree_rows(
    root: OpeningNode, *, depth: int, num_least: int = 1, num_most: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the tree depth first: `ply`, `move`, `line` (ICCS), `chinese`, `games`, their `fraction`, `red_score`."""
    yield from _rows(root, Position(), depth, num_least, num_most)


def _rows(
    node: OpeningNode, position: Position, depth: int, num_least: int, num_most: int | None
) -> Iterator[dict[str, Any]]:
    if depth == 0:
        return
    for move, child in node.most_played(num_least, num_most):
        text = chinese(position, move)
        position.push(move)
        yield {
            "ply": len(position.history),
            "move": ICCS[move],
            "chinese": text,
            "line": " ".join(ICCS[played] for played in position.history),
            "games": child.num_games,
            "fraction": child.num_games / node.num_games,
            "red_score": child.red_score,
        }
        yield from _rows(child, position, depth - 1, num_least, num_most)
        position.pop()
