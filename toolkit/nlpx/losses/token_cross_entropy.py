"""Cross entropy over the vocabulary: of each target token, as tasks that write texts have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("logits",)
TARGETS = "tokens"
SOURCE = ""


class Config(Section):
    """How sure the targets are."""

    smoothing: float = Field(0.0, ge=0, lt=1, description="of the target's probability, spread over the vocabulary")


class Loss:
    """Mean negative log-likelihood of `batch["targets"]`, in nats."""

    def __init__(self, config: Config, _: LossFacts | None = None) -> None:
        self.smoothing = config.smoothing

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (N, V) in any float type, `batch["targets"]` (N,) int64 in [0, V) -> 0-d float32."""
        from torch.nn import functional

        logits = outputs["logits"].float()  # (N, V); autocast on a CPU would leave the logarithm in bfloat16
        return functional.cross_entropy(logits, batch["targets"], label_smoothing=self.smoothing)
