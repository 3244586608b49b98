"""All legal continuations of a game as a tree, laid out so that one call of the model scores every one of them.

A move of four characters is a path of four steps; moves share their beginnings, so some sixty nodes stand for a
hundred moves. A node is read as a token that sees the game, its ancestors and itself, whatever stands beside it. The
last character of a move is only predicted, never read: with move tokens nothing is read but the game.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nlpx.xiangqi.model.tokens import MoveVocabulary

Ids = NDArray[np.int64]
Scores = NDArray[np.float32]


class Continuations:
    """The tree of the legal moves of one position. Node 0 is the game itself; the others are read behind it."""

    def __init__(self, vocabulary: MoveVocabulary, moves: Sequence[int]) -> None:
        self.moves = tuple(moves)
        self._vocabulary = vocabulary
        self._ids = vocabulary.table[moves or []]
        self._paths = list(map(tuple, self._ids.tolist())) if vocabulary.per_move > 1 else []
        self.nodes: dict[tuple[int, ...], int] = {(): 0}
        self.level_ends = [1]  # nodes of each level and all before it: a parent comes before its children
        for length in range(1, vocabulary.per_move):
            for path in dict.fromkeys(ids[:length] for ids in self._paths):
                self.nodes[path] = len(self.nodes)
            self.level_ends.append(len(self.nodes))

    def tokens(self) -> list[int]:
        """What is read at each node but the first."""
        return [path[-1] for path in self.nodes if path]

    def parents(self) -> Ids:
        """The node before each node; 0 before the first."""
        return np.array([self.nodes[path[:-1]] for path in self.nodes])

    def score(self, log_probabilities: Scores) -> tuple[tuple[int, ...], NDArray[np.float64], int | None]:
        """Moves, their log-probabilities (M,), and the first choice, from what follows each node, (nodes, V)."""
        if not self.moves:
            return (), np.empty(0), None
        scores = log_probabilities[0][self._ids[:, 0]].astype(np.float64)
        for place in range(1, self._vocabulary.per_move):
            nodes = [self.nodes[path[:place]] for path in self._paths]
            scores += log_probabilities[nodes, self._ids[:, place]]
        return self.moves, scores, self._first_choice(log_probabilities)

    def _first_choice(self, log_probabilities: Scores) -> int | None:
        """The move that taking the likeliest token each time writes, None if it is not legal."""
        path: tuple[int, ...] = ()
        while path in self.nodes:
            path = (*path, int(log_probabilities[self.nodes[path]].argmax()))
        if len(path) < self._vocabulary.per_move:
            return None
        move = self._vocabulary.decode(path)[0]
        return move if move in self.moves else None


@dataclass(frozen=True, slots=True)
class Layout:
    """One call: tokens (B, T), visibility (B, T, T) and positions (B, T), both None where all are plain rows.

    `queries` (N,) are the places in B * T whose successors are scored, `num_queries` of each row.
    """

    token_ids: Ids
    sees: NDArray[np.bool_] | None
    positions: Ids | None
    queries: Ids
    num_queries: list[int]


def lay_out(unread: Sequence[list[int]], continuations: Sequence[Continuations], stored: Sequence[int]) -> Layout:
    """The unread tokens of each game, then the nodes of its tree, then padding.

    `stored` tokens of each game are in the cache already.
    """
    rows = [[*tokens, *tree.tokens()] for tokens, tree in zip(unread, continuations, strict=True)]
    width = max(map(len, rows))
    token_ids = np.zeros((len(rows), width), dtype=np.int64)
    positions = np.zeros((len(rows), width), dtype=np.int64)  # that of padding is 0, which every table has
    for row, tokens in enumerate(rows):
        token_ids[row, : len(tokens)] = tokens
        positions[row, : len(unread[row])] = stored[row] + np.arange(len(unread[row]))
    num_queries = [len(tree.nodes) for tree in continuations]
    places = [row * width + len(tokens) - 1 for row, tokens in enumerate(unread)]
    queries = np.concatenate(
        [np.arange(place, place + count) for place, count in zip(places, num_queries, strict=True)]
    )
    if max(num_queries) == 1:  # nothing but games: no token before it sees the padding at their ends
        is_even = len(set(stored)) == len({len(tokens) for tokens in rows}) == 1
        return Layout(token_ids, None, None if is_even else positions, queries, num_queries)
    sees = np.zeros((len(rows), width, width), dtype=bool)
    for row, (tokens, tree) in enumerate(zip(unread, continuations, strict=True)):
        _place(tree, len(tokens), stored[row], sees[row], positions[row])
    return Layout(token_ids, sees, positions, queries, num_queries)


def _place(tree: Continuations, num_unread: int, stored: int, sees: NDArray[np.bool_], positions: Ids) -> None:
    """Write the tree into one row of a layout: a node sees the game, its ancestors and itself."""
    sees[:num_unread, :num_unread] = np.tri(num_unread, dtype=bool)
    parents, last = tree.parents(), num_unread - 1
    for depth, (begin, end) in enumerate(pairwise(tree.level_ends), start=1):
        here = np.arange(last + begin, last + end)
        sees[here] = sees[last + parents[begin:end]]
        sees[here, here] = True
        positions[here] = stored + last + depth
