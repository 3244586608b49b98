"""Cross entropy over class logits: each row belongs to exactly one class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.losses._weights import DESCRIPTION, ClassWeights, class_weights

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("logits",)
TARGETS = "classes"
SOURCE = ""


class Config(Section):
    """How sure the targets are, and how much each class counts."""

    smoothing: float = Field(0.0, ge=0, lt=1, description="of the target's probability, spread over all classes")
    class_weights: ClassWeights = Field("none", description=DESCRIPTION)


class Loss:
    """Mean negative log-likelihood of `batch["labels"]`, in nats.

    It is the mean over the rows, whatever they weigh: torch's own divides by the weights of the batch, which makes a
    row count more in a batch of frequent classes.
    """

    def __init__(self, config: Config, facts: LossFacts | None = None) -> None:
        self.smoothing = config.smoothing
        self.weights = class_weights(config.class_weights, facts)

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (B, C) in any float type, `batch["labels"]` (B,) int64 in [0, C) -> 0-d float32."""
        from torch.nn import functional

        # Autocast on a CPU would leave the logarithm in bfloat16, whose three digits hide small differences.
        logits, labels = outputs["logits"].float(), batch["labels"]  # (B, C), (B,)
        if self.weights is None:
            return functional.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        weights = logits.new_tensor(self.weights)  # (C,)
        summed = functional.cross_entropy(
            logits, labels, weight=weights, label_smoothing=self.smoothing, reduction="sum"
        )
        return summed / max(len(labels), 1)
