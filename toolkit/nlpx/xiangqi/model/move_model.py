"""A language model of games, and how it reads them: each move once, and all legal continuations in the same call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nlpx.errors import InputError, UsageError
from nlpx.io import parse_json
from nlpx.models.cache import KeyValueCache
from nlpx.models.transformer import Transformer
from nlpx.xiangqi.model.continuations import Continuations, Layout, Scores, lay_out
from nlpx.xiangqi.model.tokens import MoveVocabulary
from nlpx.xiangqi.rules.board import Position

MOVES_FILE = "xiangqi.json"  # beside the weights: what the tokens are, and which games were held out


@dataclass(frozen=True, slots=True)
class Ranking:
    """The legal moves of one position as a model ranks them; empty where there is none: that side has lost.

    `log_probabilities` (M,) are those of the move as the model writes it, nothing masked: together they weigh `mass`,
    and the rest is for moves that are not legal. `first_choice` is what the model would write by itself, None if that
    is no legal move.
    """

    moves: tuple[int, ...]
    log_probabilities: NDArray[np.float64]
    first_choice: int | None = None

    @property
    def mass(self) -> float:
        """The probability that a move drawn from the model is legal."""
        return float(np.exp(self.log_probabilities).sum())

    def probabilities(self, temperature: float = 1.0) -> NDArray[np.float64]:
        """Probabilities among the legal moves, (M,); a low temperature favours the likely ones."""
        if not self.moves:
            return self.log_probabilities
        scores = self.log_probabilities / temperature
        weights = np.exp(scores - scores.max())
        return np.asarray(weights / weights.sum())

    def order(self) -> list[int]:
        """Indices of the moves, the likeliest first; equal ones in the order of the moves."""
        indices: list[int] = np.argsort(-self.log_probabilities, kind="stable").tolist()
        return indices

    def best(self, count: int | None = None) -> list[tuple[int, float]]:
        """The likeliest moves with their probability among the legal ones."""
        probabilities = self.probabilities()
        return [(self.moves[index], float(probabilities[index])) for index in self.order()[:count]]


class MoveModel:
    """A Transformer with its vocabulary of moves, on a device, in float32."""

    def __init__(
        self,
        model: Transformer,
        vocabulary: MoveVocabulary,
        facts: dict[str, Any] | None = None,
        *,
        name: str = "model",
    ) -> None:
        self.model, self.vocabulary, self.facts, self.name = model.eval(), vocabulary, facts or {}, name
        self.device = next(model.parameters()).device
        config = model.config
        rows = config.max_position_embeddings
        self.max_tokens = {"learned": rows, "hierarchical": rows * rows}.get(config.position)

    @classmethod
    def load(cls, reference: str, device: str = "auto") -> MoveModel:
        """A checkpoint directory, a run, or a shipped model. Raises `InputError` for a model of something else."""
        from nlpx.device import choose
        from nlpx.models.checkpoints.load import load_model

        folder = find_checkpoint(reference)
        stored = read_facts(folder)
        model = load_model(folder, head="lm", mask="causal").to(choose(device).device)
        vocabulary = MoveVocabulary.from_dict(stored)
        if model.config.vocab_size != vocabulary.vocab_size:
            raise InputError(
                f"{folder / MOVES_FILE}: {vocabulary.vocab_size:,} tokens, where the model has "
                f"{model.config.vocab_size:,} rows",
                hint="copy it again from where the weights are from",
            )
        return cls(model, vocabulary, stored, name=Path(reference).name)

    def read(self) -> Reader:
        """Begin to read games."""
        return Reader(self)


class Reader:
    """Reads growing games with a cache; which moves were read before is found by comparing.

    So it does not matter whether moves were added or taken back, or whether another game follows: only what differs
    is computed. Games are distinguished by their `Position` object.
    """

    def __init__(self, model: MoveModel) -> None:
        self.model = model
        self._cache: KeyValueCache | None = None
        self._games: list[Position] = []
        self._read: list[list[int]] = []  # the tokens that each row of the cache holds

    def rank(self, positions: Sequence[Position]) -> list[Ranking]:
        """Exact log-probabilities of all legal moves, for many games at once and with one call of the model."""
        if not positions:
            return []
        cache = self._aligned(positions)
        wanted = [self._tokens(position) for position in positions]
        kept = [_num_common(old, new) for old, new in zip(self._read, wanted, strict=True)]
        cache.crop(kept)
        vocabulary = self.model.vocabulary
        continuations = [Continuations(vocabulary, position.legal_moves()) for position in positions]
        unread = [tokens[count:] for tokens, count in zip(wanted, kept, strict=True)]
        layout = lay_out(unread, continuations, kept)
        log_probabilities = self._call(layout, cache)
        cache.crop([len(tokens) for tokens in wanted])  # the branches are removed again
        self._read = wanted
        ends = accumulate(layout.num_queries)
        return [
            Ranking(*found.score(log_probabilities[end - count : end]))
            for found, end, count in zip(continuations, ends, layout.num_queries, strict=True)
        ]

    def _call(self, layout: Layout, cache: KeyValueCache) -> Scores:
        device = self.model.device
        with torch.inference_mode():
            logits = self.model.model(
                torch.from_numpy(layout.token_ids).to(device),
                mask="causal" if layout.sees is None else torch.from_numpy(layout.sees).to(device),
                position_ids=None if layout.positions is None else torch.from_numpy(layout.positions).to(device),
                lm_positions=torch.from_numpy(layout.queries).to(device),
                cache=cache,
            ).logits
            scores: Scores = logits.float().log_softmax(dim=-1).cpu().numpy()
            return scores

    def _aligned(self, positions: Sequence[Position]) -> KeyValueCache:
        """The cache with one row for each position: that of its game, else any, since what differs is read anew."""
        if self._cache is None:
            self._cache = KeyValueCache(self.model.model.config, len(positions))
            self._read = [[] for _ in positions]
        known = {id(game): row for row, game in enumerate(self._games)}
        spare = self._cache.num_rows
        rows = [known.get(id(game), row if row < spare else 0) for row, game in enumerate(positions)]
        if rows != list(range(spare)):
            self._cache.select(rows)
            self._read = [self._read[row] for row in rows]
        self._games = list(positions)
        return self._cache

    def _tokens(self, position: Position) -> list[int]:
        """The game so far; of one that outgrew the position table only the end, from an even ply on."""
        vocabulary, history = self.model.vocabulary, position.history
        if self.model.max_tokens is not None:
            history = history[_num_dropped(len(history), self.model.max_tokens // vocabulary.per_move - 1) :]
        return [vocabulary.start_for(position.turn), *vocabulary.encode(history)]


def find_checkpoint(reference: str) -> Path:
    """The folder of a model of moves: given itself, shipped, or the best checkpoint of a run.

    Raises `UsageError` if it is nothing of these, `InputError` for a run without a checkpoint.
    """
    from nlpx import bundled
    from nlpx.runs.folder import RunFolder

    path = Path(reference)
    if (path / MOVES_FILE).is_file():
        return path
    if reference in bundled.models():
        return bundled.path(reference)
    if (path / "config.json").is_file():
        return path
    try:
        best = RunFolder.open(reference).best_checkpoint
    except UsageError as error:
        hint = "give a run of nlpx chess-lm train, its checkpoint directory, or a shipped model"
        raise UsageError(f"{reference}: no such model or run", hint=f"{hint}\n{error.hint}") from None
    if not best.exists():
        raise InputError(f"{reference}: the run has no checkpoint yet", hint="train it to an evaluation first")
    return best


def read_facts(folder: Path) -> dict[str, Any]:
    """What `xiangqi.json` says. Raises `InputError` for a checkpoint that is no model of moves."""
    file = folder / MOVES_FILE
    if not file.is_file():
        raise InputError(
            f"{folder}: not a model of Xiangqi moves: no {MOVES_FILE}", hint="nlpx chess-lm train makes one"
        )
    try:
        stored = dict(parse_json(file.read_text(encoding="utf-8")))
        MoveVocabulary.from_dict(stored)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error})", hint="copy it again, or train anew") from None
    return stored


def _num_common(old: list[int], new: list[int]) -> int:
    """How many tokens need not be read again; at least the last one is, for what follows it."""
    most = min(len(old), len(new) - 1)
    if old[:most] == new[:most]:
        return most
    return next(place for place in range(most) if old[place] != new[place])


def _num_dropped(num_plies: int, most: int) -> int:
    """How many plies to leave out so that at most `most` are left: in big even steps, so that most stays read."""
    if num_plies <= most:
        return 0
    step = max(2, most // 4 * 2)
    return -(-(num_plies - most) // step) * step
