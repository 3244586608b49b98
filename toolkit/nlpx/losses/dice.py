"""Dice loss: one minus the smooth F1 of each class over the batch (arXiv 1606.04797, kexue.fm/archives/7708).

    loss = 1 - mean over the classes of (2 sum of p y + smoothing) / (sum of p + sum of y + smoothing)

p and y are the probability of a class and whether it is right, summed over the rows of a batch: this is no mean over
rows, so batches should be large, and with `train.accumulation` each is judged by itself. A class that neither occurs
nor is expected counts as found only by `smoothing`.
"""

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
SOURCE = "arXiv 1606.04797, kexue.fm/archives/7708"


class Config(Section):
    """What is added above and below."""

    smoothing: float = Field(1.0, gt=0, description="added to both sides of the fraction, in rows")


class Loss:
    """A number in [0, 1), not in nats."""

    def __init__(self, config: Config, _: LossFacts | None = None) -> None:
        self.smoothing = config.smoothing

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (B, C) in any float type, `batch["labels"]` (B,) int64 in [0, C) -> 0-d float32."""
        from torch.nn import functional

        p = outputs["logits"].float().softmax(-1)  # (B, C)
        y = functional.one_hot(batch["labels"], p.shape[-1]).to(p.dtype)  # (B, C)
        both = 2 * (p * y).sum(0) + self.smoothing  # (C,)
        return 1 - (both / (p.sum(0) + y.sum(0) + self.smoothing)).mean()
