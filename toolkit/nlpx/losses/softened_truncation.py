"""Softened truncation: a row that is right beyond doubt no longer counts (kexue.fm/archives/4293 and 4733).

    loss = -sigma(-k s) log sigma(s),    s = log p / (1 - p), p the probability of the right class

Of two classes s is the difference of their logits, as in the posts. With k = 1 it is the focal loss with gamma 1; a
large k is the hard form, which leaves out rows with p above one half: they come back once they are forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveFloat

from nlpx.configuration.section import Section
from nlpx.losses._weights import DESCRIPTION, ClassWeights, class_weights, mean_over_rows

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("logits",)
TARGETS = "classes"
SOURCE = "kexue.fm/archives/4293, 4733"


class Config(Section):
    """How sharp the cut is, and how much each class counts."""

    k: PositiveFloat = Field(2.0, description="1: focal loss with gamma 1; the larger, the sharper; nobody's default")
    class_weights: ClassWeights = Field("none", description=DESCRIPTION)


class Loss:
    """Mean over the rows, in nats."""

    def __init__(self, config: Config, facts: LossFacts | None = None) -> None:
        self.k = config.k
        self.weights = class_weights(config.class_weights, facts)

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (B, C) in any float type, `batch["labels"]` (B,) int64 in [0, C) -> 0-d float32."""
        import torch
        from torch.nn import functional

        labels, logits = batch["labels"], outputs["logits"].float()  # (B,), (B, C)
        chosen = functional.one_hot(labels, logits.shape[-1]).bool()  # (B, C)
        others = logits.masked_fill(chosen, -torch.inf).logsumexp(-1)  # (B,)
        margin = logits.gather(1, labels[:, None])[:, 0] - others  # (B,), log p / (1 - p)
        each = -(-self.k * margin).sigmoid() * functional.logsigmoid(margin)
        return mean_over_rows(each, labels, self.weights)
