"""Sequence to sequence in one encoder: a text is split, and part two predicted from part one (arXiv 1905.03197)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from numpy.random import Generator

    from nlpx.data.batches.masking import SpecialIds
    from nlpx.data.batches.packing import PackedRow
    from nlpx.objectives import ObjectiveOutput, RowFacts
    from nlpx.objectives._packed import Ids

SHORTEST = 3  # tokens; a shorter piece has no source, only a target, which makes it a language model's


class Config(Section):
    """Nothing but its share of the updates."""

    weight: float = Field(1.0, ge=0, description="share of the updates, relative to the other objectives")


class SplitRow(NamedTuple):
    """A row in two parts: ids, segments (0 = source, 1 = target) and documents, each (T,)."""

    token_ids: Ids
    segment_ids: Ids
    document_ids: Ids


class Objective:
    """Splits each document at random: [CLS] source [SEP] target [SEP]; a target token sees what is before it.

    A row that `max_length` has no room for the inserted [SEP] in gives up the [SEP] at the end, as if the text went on.
    """

    HEADS = ("lm",)
    OUTPUTS = ("logits",)
    ACCURACY = "next-token accuracy"
    keep_logits = False  # in training; set where a trick reads them

    def __init__(self, config: Config, special: SpecialIds, facts: RowFacts | None = None) -> None:
        self.special = special
        self.max_length = None if facts is None else facts.max_length

    def batch(self, rows: Sequence[PackedRow], generators: Sequence[Generator]) -> dict[str, Any]:
        """Split rows with `segment_ids` (B, T); `lm_positions` and `targets` (N,): the tokens of segment 1."""
        import torch

        from nlpx.objectives._packed import OUTSIDE, followed, inputs, padded, prediction_targets

        parts = [self.split(row, random) for row, random in zip(rows, generators, strict=True)]
        documents = padded([part.document_ids for part in parts], fill=OUTSIDE)
        segments = padded([part.segment_ids for part in parts], fill=0)
        batch = inputs([part.token_ids for part in parts], documents, pad=self.special.pad)
        predicted = followed(documents) & (segments[:, 1:] == 1)
        targets = prediction_targets(batch["token_ids"].numpy(), predicted)
        return batch | {"segment_ids": torch.from_numpy(segments)} | targets

    def __call__(self, model: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        """Mean negative log-likelihood of the targets, in nats; `outputs["logits"]` (N, V), but in training."""
        from nlpx.objectives._packed import language_loss

        return language_loss(model, batch, mask="unilm", keep_logits=self.keep_logits)

    def num_correct(self, outputs: dict[str, Any], batch: dict[str, Any]) -> int:
        """How many target tokens are the model's first choice."""
        from nlpx.objectives._packed import num_correct

        return num_correct(outputs, batch)

    def split(self, row: PackedRow, random: Generator) -> SplitRow:
        """Insert [SEP] in each document of the row, at a place drawn evenly from those with a token on either side."""
        import numpy as np

        length = len(row.token_ids)
        starts = np.flatnonzero(np.diff(row.document_ids, prepend=-1))
        ends = np.append(starts[1:], length)
        sizes = ends - starts - 2  # without [CLS] and [SEP]
        is_split = sizes >= SHORTEST
        first_targets = starts + 1 + np.where(is_split, random.integers(1, np.maximum(sizes, 2)), 0)
        places = first_targets[is_split]
        # Each place occurs twice: once as the inserted [SEP], once as what stood there.
        origin = np.sort(np.concatenate([np.arange(length), places]))
        inserted = places + np.arange(len(places))
        token_ids = row.token_ids[origin]
        token_ids[inserted] = self.special.sep
        segment_ids = (np.arange(length) >= np.repeat(first_targets, ends - starts)).astype(np.int64)[origin]
        segment_ids[inserted] = 0
        kept = self._kept(len(origin), (ends + np.cumsum(is_split))[is_split] - 1)
        return SplitRow(token_ids[kept], segment_ids[kept], row.document_ids[origin][kept])

    def _kept(self, length: int, last_places: Ids) -> Any:
        """What stays of a row that has grown to `length`: all, or without the ends of as many pieces as needed."""
        import numpy as np

        surplus = 0 if self.max_length is None else length - self.max_length
        if surplus <= 0:
            return slice(None)
        kept = np.ones(length, dtype=bool)
        kept[last_places[-surplus:]] = False
        return kept
