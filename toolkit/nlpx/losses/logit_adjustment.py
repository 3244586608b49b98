"""Logit adjustment: cross entropy with the classes' frequencies added (arXiv 2007.07314, kexue.fm/archives/7615).

    loss = cross entropy of f + tau log prior

The logits f then need not say what is frequent, only what the text speaks for. Their largest is the best answer where
every class counts alike (balanced accuracy, macro F1); for accuracy the prior belongs into the answer as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.losses._weights import priors

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("logits",)
TARGETS = "classes"
SOURCE = "arXiv 2007.07314, kexue.fm/archives/7615"


class Config(Section):
    """How much of the prior, and what the answers are to be best in."""

    tau: float = Field(1.0, ge=0, description="power of the prior; 0: cross entropy")
    decide_for: Literal["balanced_accuracy", "accuracy"] = Field(
        "balanced_accuracy", description="`accuracy`: the prior is added to the logits of an answer too"
    )


class Loss:
    """Mean negative log-likelihood of `batch["labels"]` under the adjusted logits, in nats.

    `decision_shift`, where there is one, is what is to be added to the logits (C,) before an answer is chosen.
    """

    def __init__(self, config: Config, facts: LossFacts | None = None) -> None:
        self.shift = [config.tau * log(prior) for prior in priors(facts)]
        self.decision_shift = self.shift if config.decide_for == "accuracy" else None

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (B, C) in any float type, `batch["labels"]` (B,) int64 in [0, C) -> 0-d float32."""
        from torch.nn import functional

        logits = outputs["logits"].float()  # (B, C)
        return functional.cross_entropy(logits + logits.new_tensor(self.shift), batch["labels"])
