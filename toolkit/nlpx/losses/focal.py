"""Focal loss: rows that are already right count less (arXiv 1708.02002, kexue.fm/archives/4733).

    loss = -w (1 - p)^gamma log p,    p the probability of the right class, w its weight

The paper's alpha of two classes is `class_weights`, such as [0.75, 0.25].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.losses._weights import DESCRIPTION, ClassWeights, class_weights, mean_over_rows

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("logits",)
TARGETS = "classes"
SOURCE = "arXiv 1708.02002, kexue.fm/archives/4733"


class Config(Section):
    """How much less, and how much each class counts."""

    gamma: float = Field(2.0, ge=0, description="power of 1 - p; 0: cross entropy")
    class_weights: ClassWeights = Field("none", description=DESCRIPTION)


class Loss:
    """Mean over the rows, in nats."""

    def __init__(self, config: Config, facts: LossFacts | None = None) -> None:
        self.gamma = config.gamma
        self.weights = class_weights(config.class_weights, facts)

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (B, C) in any float type, `batch["labels"]` (B,) int64 in [0, C) -> 0-d float32."""
        labels = batch["labels"]  # (B,)
        log_p = outputs["logits"].float().log_softmax(-1).gather(1, labels[:, None])[:, 0]  # (B,)
        # Where p is 1 in float32, a power below 2 of 0 has no second derivative.
        rest = (-log_p.expm1()).clamp(min=1e-7)  # (B,), 1 - p
        return mean_over_rows(-(rest**self.gamma) * log_p, labels, self.weights)
