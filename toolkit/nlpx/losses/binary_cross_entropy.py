"""Binary cross entropy over class logits: each row has any number of the classes, each decided by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("logits",)
TARGETS = "label_sets"
SOURCE = ""


class Config(Section):
    """Nothing to choose."""


class Loss:
    """Mean over rows and classes of the negative log-likelihood of yes and no, in nats."""

    def __init__(self, _config: Config, _: LossFacts | None = None) -> None: ...

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (B, C) in any float type, `batch["labels"]` (B, C) of 0 and 1 -> 0-d float32."""
        from torch.nn import functional

        # Autocast on a CPU would leave the logarithm in bfloat16, whose three digits hide small differences.
        logits = outputs["logits"].float()  # (B, C)
        return functional.binary_cross_entropy_with_logits(logits, batch["labels"].float())
