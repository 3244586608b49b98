"""Cross entropy over class logits: each row belongs to exactly one class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("logits",)
TARGETS = "classes"


class Config(Section):
    """How sure the targets are."""

    smoothing: float = Field(0.0, ge=0, lt=1, description="of the target's probability, spread over all classes")


class Loss:
    """Mean negative log-likelihood of `batch["labels"]`, in nats."""

    def __init__(self, config: Config, _: LossFacts | None = None) -> None:
        self.smoothing = config.smoothing

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (B, C) in any float type, `batch["labels"]` (B,) int64 in [0, C) -> 0-d float32."""
        from torch.nn import functional

        # Autocast on a CPU would leave the logarithm in bfloat16, whose three digits hide small differences.
        logits = outputs["logits"].float()  # (B, C)
        return functional.cross_entropy(logits, batch["labels"], label_smoothing=self.smoothing)
