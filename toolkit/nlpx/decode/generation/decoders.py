"""One interface over models that generate: from the sources to logits, and from each chosen token to the next logits.

- `CausalDecoder`: the source is a prompt that the model continues.
- `PrefixDecoder`: one encoder with a UniLM mask (arXiv 1905.03197); it reads the source in both directions as segment
  0, and writes the target from left to right as segment 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, cast

import torch
from torch import Tensor

from nlpx.decode.generation.step import is_plain, step
from nlpx.errors import InputError, UsageError
from nlpx.models.cache import KeyValueCache
from nlpx.models.transformer import Transformer


class State(Protocol):
    """What a decoder remembers of its rows between two tokens."""

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows in this order; one that is named twice is copied (beams), one that is not is dropped."""


class Decoder(Protocol):
    """Gives the logits of the next token of one row or many."""

    start_ids: Sequence[int]  # what every target begins with where the model wants it, such as T5's start token
    max_length: int | None  # positions of source and target together; None: no end
    reads_source: bool  # whether the source stands before the target, so that processors look at it too
    is_even: bool  # whether all sources of one call must have the same length

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, State]:
        """Logits (B, V) float32 of the first target token of B sources of any lengths, and the state behind them."""

    def step(self, token_ids: Tensor, state: State) -> Tensor:
        """Logits (B, V) float32 of what follows the tokens (B,) that were chosen last; the state then holds them."""


class _CachedDecoder:
    """A `Transformer` that reads source and target in one sequence, with its keys and values in a cache."""

    MASK: ClassVar[str]
    TARGET_SEGMENT: ClassVar[int]
    start_ids: Sequence[int] = ()
    reads_source: bool

    def __init__(self, model: Transformer, num_tokens: int | None = None) -> None:
        """`num_tokens` is the size of the vocabulary, where the word table has more rows: those are never written."""
        if model.lm_head is None:
            raise UsageError("the model has no head `lm` to generate with", hint="load it with head=lm")
        self.model, self.num_tokens = model.eval(), num_tokens
        table = model.embeddings.position_embeddings
        self.max_length = None if table is None else table.max_length
        self.is_even = model.relative is not None  # relative positions are those of every row alike
        self._is_plain = is_plain(model)
        self._device = model.embeddings.word_embeddings.weight.device

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, KeyValueCache]:
        """See `Decoder`. Raises `InputError` for an empty source."""
        token_ids, attention_mask = padded(sources)  # (B, T) each
        sizes = attention_mask.sum(dim=1, keepdim=True)  # (B, 1)
        cache = KeyValueCache(self.model.config, len(sources))
        output = self.model(
            token_ids.to(self._device),
            attention_mask=attention_mask.to(self._device),
            mask=self.MASK,
            heads=("lm",),
            cache=cache,
            query_positions=(sizes - 1).to(self._device),
        )
        return output.heads["lm"][:, 0, : self.num_tokens].float(), cache

    def step(self, token_ids: Tensor, state: State) -> Tensor:
        """See `Decoder`."""
        segments = torch.full_like(token_ids, self.TARGET_SEGMENT)[:, None] if self.TARGET_SEGMENT else None  # (B, 1)
        cache = cast(KeyValueCache, state)
        if self._is_plain:
            return step(self.model, token_ids, segments, cache)[:, : self.num_tokens].float()
        output = self.model(token_ids[:, None], segment_ids=segments, mask="causal", heads=("lm",), cache=cache)
        logits: Tensor = output.heads["lm"][:, 0, : self.num_tokens].float()
        return logits


def padded(sources: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids (B, T) of sources with zeros behind the shorter ones, and which are real (B, T), on the CPU.

    Raises `InputError` for an empty source.
    """
    lengths = [len(source) for source in sources]
    if not all(lengths):
        raise InputError(f"source {lengths.index(0) + 1} is empty: there is nothing to begin with")
    token_ids = torch.zeros(len(sources), max(lengths), dtype=torch.long)
    for row, source in enumerate(sources):
        token_ids[row, : len(source)] = torch.as_tensor(source)
    return token_ids, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


class CausalDecoder(_CachedDecoder):
    """A language model that continues its prompts."""

    MASK, TARGET_SEGMENT, reads_source = "causal", 0, True


class PrefixDecoder(_CachedDecoder):
    """An encoder with a language-model head, trained with mask `unilm`: source in segment 0, target in segment 1.

    The source is given with its frame, [CLS] source [SEP]; its last token predicts the first of the target.
    """

    MASK, TARGET_SEGMENT, reads_source = "bidirectional", 1, False

    def __init__(self, model: Transformer, num_tokens: int | None = None) -> None:
        super().__init__(model, num_tokens)
        if model.config.type_vocab_size == 1:
            raise UsageError("the model has one segment, and a target is told from its source by a second")
