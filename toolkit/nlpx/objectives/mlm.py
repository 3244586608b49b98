"""Masked language model: predict the words that were hidden (arXiv 1810.04805, whole words: 1906.08101)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from numpy.random import Generator

    from nlpx.data.batches.masking import SpecialIds
    from nlpx.data.batches.packing import PackedRow
    from nlpx.objectives import ObjectiveOutput, RowFacts


class Config(Section):
    """How much is hidden, and behind what."""

    weight: float = Field(1.0, ge=0, description="fraction of the updates, relative to the other objectives")
    rate: float = Field(0.15, gt=0, lt=1, description="fraction of the words to predict")
    mask_fraction: float = Field(0.8, ge=0, le=1, description="of their tokens, those that become [MASK]")
    random_fraction: float = Field(
        0.1, ge=0, le=1, description="those that become a token drawn from all, perhaps the same; the rest stays"
    )


class Objective:
    """Predicts hidden words from both sides, within each document."""

    HEADS = ("lm",)
    OUTPUTS = ("logits",)
    ACCURACY = "masked accuracy"
    keep_logits = False  # in training; set where a trick reads them

    def __init__(self, config: Config, special: SpecialIds, facts: RowFacts | None = None) -> None:
        self.config, self.special = config, special

    def batch(self, rows: Sequence[PackedRow], generators: Sequence[Generator]) -> dict[str, Any]:
        """Rows with words hidden; `lm_positions` and `targets` (N,) say where and what they were."""
        from nlpx.data.batches.masking import mask_words
        from nlpx.objectives._packed import OUTSIDE, hidden_targets, inputs, padded

        fractions = self.config.model_dump(include={"rate", "mask_fraction", "random_fraction"})
        hidden = [
            mask_words(row, random, self.special, **fractions) for row, random in zip(rows, generators, strict=True)
        ]
        documents = padded([row.document_ids for row in rows], fill=OUTSIDE)
        batch = inputs([ids for ids, _ in hidden], documents, pad=self.special.pad)
        batch |= hidden_targets(rows, [where for _, where in hidden], width=documents.shape[1])
        return batch | {"num_targets": len(batch["targets"])}

    def __call__(self, model: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        """Mean negative log-likelihood of the hidden tokens, in nats; `outputs["logits"]` (N, V), but in training."""
        from nlpx.objectives._packed import language_loss

        return language_loss(model, batch, mask="bidirectional", keep_logits=self.keep_logits)

    def num_correct(self, outputs: dict[str, Any], batch: dict[str, Any]) -> int:
        """How many hidden tokens are the model's first choice."""
        from nlpx.objectives._packed import num_correct

        return num_correct(outputs, batch)
