"""What changes the logits of a step before a token is chosen.

A processor is called like those of transformers: `(input_ids (B, T), scores (B, V)) -> scores`, `input_ids` being all
tokens that stand before. Theirs can be given, too. A `Constraint` is also told whose rows these are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nlpx.decode.generation.settings import GenerationSettings

NEVER = -torch.inf


class LogitsProcessor(Protocol):
    """Anything callable like `transformers.LogitsProcessor`."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) from scores (B, V) and the tokens (B, T) before them."""


class Constraint(ABC):
    """A processor that depends on the source of a row, or on how many of its tokens are new."""

    @abstractmethod
    def constrain(self, scores: Tensor, sources: Sequence[int], num_new: int) -> Tensor:
        """Scores (B, V) of rows that answer these sources (their numbers) and have `num_new` tokens so far."""


Processor = LogitsProcessor | Constraint


@dataclass(frozen=True, slots=True)
class RepetitionPenalty:
    """Divide positive logits of tokens that stood before by `penalty`, multiply negative ones (arXiv 1909.05858)."""

    penalty: float

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        found = scores.gather(1, input_ids)  # (B, T)
        changed = torch.where(found < 0, found * self.penalty, found / self.penalty)
        return scores.scatter(1, input_ids, changed)


@dataclass(frozen=True, slots=True)
class NoRepeatNgram:
    """Never let a sequence of `size` tokens come twice."""

    size: int

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] < self.size:
            return scores
        windows = input_ids.unfold(1, self.size, 1)  # (B, W, size)
        last = input_ids[:, input_ids.shape[1] - self.size + 1 :]  # (B, size - 1): what a next token would complete
        is_same = (windows[..., :-1] == last[:, None]).all(dim=-1)  # (B, W)
        rows, places = is_same.nonzero(as_tuple=True)
        scores = scores.clone()
        scores[rows, windows[rows, places, -1]] = NEVER
        return scores


@dataclass(frozen=True, slots=True)
class Temperature:
    """Divide the logits."""

    temperature: float

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores / self.temperature


@dataclass(frozen=True, slots=True)
class TopK:
    """Keep the k most probable tokens, and all that are as probable as the last of them."""

    k: int

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        smallest = scores.topk(min(self.k, scores.shape[1]), dim=1).values[:, -1:]
        return scores.masked_fill(scores < smallest, NEVER)


@dataclass(frozen=True, slots=True)
class TopP:
    """Keep the fewest tokens that together have probability p; the one that crosses p stays (arXiv 1904.09751)."""

    p: float

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ordered, order = scores.softmax(dim=1).sort(dim=1, descending=True, stable=True)
        return _keep_first(scores, ordered, order, self.p)


@dataclass(frozen=True, slots=True)
class TypicalP:
    """The same, of the tokens whose surprise is nearest to the entropy of the distribution (arXiv 2202.00666)."""

    p: float

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        log_probabilities = scores.log_softmax(dim=1)
        probabilities = log_probabilities.exp()
        entropy = -(log_probabilities * probabilities).nansum(dim=1, keepdim=True)  # 0 * -inf is no term of it
        order = (-log_probabilities - entropy).abs().sort(dim=1, stable=True).indices
        return _keep_first(scores, probabilities.gather(1, order), order, self.p)


def _keep_first(scores: Tensor, ordered: Tensor, order: Tensor, share: float) -> Tensor:
    """Scores (B, V) with those kept that come first in `order` until their probabilities reach `share`."""
    before = ordered.cumsum(dim=1) - ordered  # of those in front; nothing is before the first, so it always stays
    kept = torch.zeros_like(scores, dtype=torch.bool).scatter(1, order, before < share)
    return scores.masked_fill(~kept, NEVER)


class Allowed:
    """Allow some ids only. `is_allowed` (V,) is true for them."""

    def __init__(self, is_allowed: Tensor) -> None:
        self._banned = ~is_allowed

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._banned = self._banned.to(scores.device)
        return scores.masked_fill(self._banned, NEVER)


@dataclass(frozen=True, slots=True)
class MinNewTokens(Constraint):
    """No end token before `num_tokens` others."""

    num_tokens: int
    end_ids: Collection[int]

    def constrain(self, scores: Tensor, sources: Sequence[int], num_new: int) -> Tensor:
        if num_new >= self.num_tokens:
            return scores
        ends = torch.tensor(sorted(self.end_ids), dtype=torch.long, device=scores.device)
        return scores.index_fill(1, ends, NEVER)


@dataclass(frozen=True, slots=True)
class ForcedPrefix(Constraint):
    """Let every answer begin with these tokens."""

    token_ids: Sequence[int]

    def constrain(self, scores: Tensor, sources: Sequence[int], num_new: int) -> Tensor:
        if num_new >= len(self.token_ids):
            return scores
        forced = torch.full_like(scores, NEVER)
        forced[:, self.token_ids[num_new]] = scores[:, self.token_ids[num_new]]
        return forced


class CopyFromSource(Constraint):
    """Let an answer have tokens of its own source only, and the end tokens.

    `sources` are the ids that may be copied from each source: give them without the frame.
    """

    def __init__(self, sources: Sequence[Sequence[int]], end_ids: Collection[int]) -> None:
        self._allowed = [torch.tensor(sorted({*source, *end_ids}), dtype=torch.long) for source in sources]

    def constrain(self, scores: Tensor, sources: Sequence[int], num_new: int) -> Tensor:
        kept = torch.full_like(scores, NEVER)
        for row, source in enumerate(sources):
            ids = self._allowed[source].to(scores.device)
            kept[row, ids] = scores[row, ids]
        return kept


def processors_of(
    settings: GenerationSettings, end_ids: Collection[int], given: Sequence[Processor] = ()
) -> list[Processor]:
    """What the settings ask for in the order of transformers, those given before the ones that narrow a draw."""
    found: list[Processor] = []
    if settings.repetition_penalty != 1:
        found.append(RepetitionPenalty(settings.repetition_penalty))
    if settings.no_repeat_ngram:
        found.append(NoRepeatNgram(settings.no_repeat_ngram))
    if settings.min_new_tokens and end_ids:
        found.append(MinNewTokens(settings.min_new_tokens, end_ids))
    found += given
    if settings.is_sampling and settings.temperature != 1:
        found.append(Temperature(settings.temperature))
    if settings.top_k is not None:
        found.append(TopK(settings.top_k))
    if settings.top_p is not None:
        found.append(TopP(settings.top_p))
    if settings.typical_p is not None:
        found.append(TypicalP(settings.typical_p))
    return found


def process(
    processors: Sequence[Processor],
    histories: Sequence[Sequence[int]],
    sources: Sequence[int],
    num_new: int,
    scores: Tensor,
) -> Tensor:
    """Scores (B, V) after all processors, for rows with these tokens so far.

    Rows whose histories differ in length are processed apart: padding would count as tokens that stood there.
    """
    if not processors:
        return scores
    by_length: dict[int, list[int]] = {}
    for row, history in enumerate(histories):
        by_length.setdefault(len(history), []).append(row)
    if len(by_length) == 1:
        return _process_even(processors, histories, sources, num_new, scores)
    processed = torch.empty_like(scores)
    for rows in by_length.values():
        of_rows = [histories[row] for row in rows], [sources[row] for row in rows]
        processed[rows] = _process_even(processors, *of_rows, num_new, scores[rows])
    return processed


def _process_even(
    processors: Sequence[Processor],
    histories: Sequence[Sequence[int]],
    sources: Sequence[int],
    num_new: int,
    scores: Tensor,
) -> Tensor:
    input_ids = torch.tensor(histories, dtype=torch.long, device=scores.device)  # (B, T)
    scores = scores.clone()  # processors of others may write into what they are given
    for processor in processors:
        if isinstance(processor, Constraint):
            scores = processor.constrain(scores, sources, num_new)
        else:
            scores = processor(input_ids, scores)
    return scores
