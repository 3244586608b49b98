"""Language model: predict each next token from those before it, from [CLS] to [SEP]."""

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
    """Nothing but its share of the updates."""

    weight: float = Field(1.0, ge=0, description="share of the updates, relative to the other objectives")


class Objective:
    """Predicts the next token of the same document; the first from [CLS], at the end [SEP]."""

    HEADS = ("lm",)
    OUTPUTS = ("logits",)
    ACCURACY = "next-token accuracy"
    keep_logits = False  # in training; set where a trick reads them

    def __init__(self, config: Config, special: SpecialIds, facts: RowFacts | None = None) -> None:
        self.special = special

    def batch(self, rows: Sequence[PackedRow], generators: Sequence[Generator]) -> dict[str, Any]:
        """The rows as they are; `lm_positions` and `targets` (N,): all tokens but the first of each document."""
        from nlpx.objectives._packed import OUTSIDE, followed, inputs, padded, prediction_targets

        documents = padded([row.document_ids for row in rows], fill=OUTSIDE)
        batch = inputs([row.token_ids for row in rows], documents, pad=self.special.pad)
        return batch | prediction_targets(batch["token_ids"].numpy(), followed(documents))

    def __call__(self, model: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        """Mean negative log-likelihood of the next tokens, in nats; `outputs["logits"]` (N, V), but in training."""
        from nlpx.objectives._packed import language_loss

        return language_loss(model, batch, mask="causal", keep_logits=self.keep_logits)

    def num_correct(self, outputs: dict[str, Any], batch: dict[str, Any]) -> int:
        """How many next tokens are the model's first choice."""
        from nlpx.objectives._packed import num_correct

        return num_correct(outputs, batch)
