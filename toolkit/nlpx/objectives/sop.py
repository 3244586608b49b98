"""Sentence order: predict whether two parts of a text are in order or swapped (ALBERT, arXiv 1909.11942)."""

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


class Config(Section):
    """Nothing but its share of the updates."""

    weight: float = Field(1.0, ge=0, description="share of the updates, relative to the other objectives")


class Pair(NamedTuple):
    """[CLS] A [SEP] B [SEP] as ids and segments, each (T,); `swapped` is None for a text that was not split."""

    token_ids: Ids
    segment_ids: Ids
    swapped: bool | None


class Objective:
    """Splits the first piece of each row at the end of one of its sentences and swaps the parts half of the time.

    A piece of a single sentence is passed over: split inside, its order would show in the first and last token alone.
    """

    HEADS = ("sentence",)
    OUTPUTS = ("logits",)
    ACCURACY = "accuracy of the order"

    def __init__(self, config: Config, special: SpecialIds, facts: RowFacts | None = None) -> None:
        from nlpx.objectives import RowFacts

        self.special, self.facts = special, facts or RowFacts()

    def batch(self, rows: Sequence[PackedRow], generators: Sequence[Generator]) -> dict[str, Any]:
        """Pairs with `segment_ids` (B, T); `split_rows` and `targets` (N,): which were split, and 1 for swapped."""
        import numpy as np
        import torch

        from nlpx.objectives._packed import OUTSIDE, inputs, padded

        pairs = [self.pair(row, random) for row, random in zip(rows, generators, strict=True)]
        documents = padded([np.zeros(len(pair.token_ids), dtype=np.int64) for pair in pairs], fill=OUTSIDE)
        targets = [int(pair.swapped) for pair in pairs if pair.swapped is not None]
        return inputs([pair.token_ids for pair in pairs], documents, pad=self.special.pad) | {
            "segment_ids": torch.from_numpy(padded([pair.segment_ids for pair in pairs], fill=0)),
            "split_rows": torch.tensor([index for index, pair in enumerate(pairs) if pair.swapped is not None]).long(),
            "targets": torch.tensor(targets).long(),
            "num_targets": len(targets),
        }

    def __call__(self, model: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        """Mean negative log-likelihood of the order, in nats; `outputs["logits"]` is (N, 2)."""
        from nlpx.objectives import ObjectiveOutput
        from nlpx.objectives._packed import call, mean_loss

        logits = call(model, batch, mask="bidirectional", heads=("sentence",)).heads["sentence"][batch["split_rows"]]
        return ObjectiveOutput(mean_loss(logits, batch["targets"]), {"logits": logits})

    def num_correct(self, outputs: dict[str, Any], batch: dict[str, Any]) -> int:
        """How many orders were predicted right."""
        from nlpx.objectives._packed import num_correct

        return num_correct(outputs, batch)

    def pair(self, row: PackedRow, random: Generator) -> Pair:
        """The first piece of a row in two parts, split at a place drawn evenly from the borders of its sentences."""
        import numpy as np

        tokens = row.token_ids[row.document_ids == 0][1:-1]
        borders = self.borders(tokens.tolist())
        if not borders:
            token_ids = np.concatenate([[self.special.cls], tokens, [self.special.sep]])
            return Pair(token_ids, np.zeros(len(token_ids), dtype=np.int64), None)
        place, swapped = borders[random.integers(len(borders))], bool(random.random() < 0.5)
        parts = self._fitting(tokens[:place], tokens[place:])
        first, second = parts[::-1] if swapped else parts
        separator = [self.special.sep]
        token_ids = np.concatenate([[self.special.cls], first, separator, second, separator])
        segment_ids = (np.arange(len(token_ids)) >= len(first) + 2).astype(np.int64)
        return Pair(token_ids, segment_ids, swapped)

    def borders(self, tokens: Sequence[int]) -> list[int]:
        """Where a new sentence begins inside a text: after an end, and after what closes it."""
        found, ended = [], False
        for place, token in enumerate(tokens):
            if token in self.facts.sentence_ends:
                ended = True
            elif ended and token not in self.facts.closing_marks:
                found.append(place)
                ended = False
        return found

    def _fitting(self, first: Ids, second: Ids) -> tuple[Ids, Ids]:
        """Both parts, the longer one without its last token if the second [SEP] would make the row too long."""
        limit = self.facts.max_length
        if limit is None or len(first) + len(second) + 3 <= limit:
            return first, second
        return (first[:-1], second) if len(first) >= len(second) else (first, second[:-1])
