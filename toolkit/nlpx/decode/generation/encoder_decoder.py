"""The decoder of models that read and write with two stacks (T5): the source is encoded once, whatever follows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import cast

import torch
from torch import Tensor

from nlpx.decode.generation.decoders import State, padded
from nlpx.models.cache import KeyValueCache
from nlpx.models.encoder_decoder import EncoderDecoder, Source


class EncoderDecoderDecoder:
    """Implements `Decoder`. A target begins with the start token of the checkpoint, else with the padding, 0."""

    max_length: int | None = None  # positions are distances: neither source nor target has an end
    reads_source = False
    is_even = False

    def __init__(self, model: EncoderDecoder, num_tokens: int | None = None) -> None:
        """`num_tokens` is the size of the vocabulary, where the word table has more rows: those are never written."""
        self.model, self.num_tokens = model.eval(), num_tokens
        self.start_ids: Sequence[int] = (start_id(model),)
        self._device = model.get_input_embeddings().weight.device

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, SourceState]:
        """Logits (B, V) float32 of the first target token of B sources of any lengths, and the state behind them.

        Raises `InputError` for an empty source.
        """
        token_ids, mask = padded(sources)  # (B, S) each
        encoded = self.model.encode(token_ids.to(self._device), None if bool(mask.all()) else mask.to(self._device))
        state = SourceState(encoded, KeyValueCache(self.model.decoder_config(), len(sources)))
        first = torch.full((len(sources),), self.start_ids[0], device=self._device)
        return self.step(first, state), state

    def step(self, token_ids: Tensor, state: State) -> Tensor:
        """Logits (B, V) float32 of what follows the tokens (B,) that were chosen last; the state then holds them."""
        state = cast(SourceState, state)
        output = self.model.decode(token_ids[:, None], state.source, cache=state.cache)
        logits: Tensor = output.heads["lm"][:, 0, : self.num_tokens].float()
        return logits


def start_id(model: EncoderDecoder) -> int:
    """What every target begins with: the start token of the checkpoint, else the padding, 0."""
    special = model.config.special_token_ids
    return special.get("decoder_start", special.get("pad", 0))


class SourceState:
    """The targets so far in a cache, and the encoded sources they belong to.

    Beams of one source stand side by side and are as many as those of any other source: they ask one copy of its keys.
    Where rows are chosen otherwise, each gets its own.
    """

    def __init__(self, source: Source, cache: KeyValueCache) -> None:
        self.source, self.cache = source, cache
        self._of_row = list(range(cache.num_rows))  # which of the encoded sources a row belongs to

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows in this order; one that is named twice is copied (beams), one that is not is dropped."""
        self.cache.select(rows)
        of_row = [self._of_row[row] for row in rows]
        kept = [source for source, _ in groupby(of_row)]
        is_shared = bool(kept) and of_row == [source for source in kept for _ in range(len(of_row) // len(kept))]
        if not is_shared:
            kept = of_row
        if kept != list(range(self.source.num_sources)):
            self.source.select(kept)
        each = len(of_row) // len(kept) if kept else 1
        self._of_row = [row // each for row in range(len(of_row))]
