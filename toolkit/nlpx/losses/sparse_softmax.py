"""Cross entropy of a softmax over the k largest logits only (Su Jianlin, kexue.fm/archives/8046).

The plain softmax never reaches a probability of 0, so it goes on pushing logits apart: a loss of ln 2 over 21,128
tokens needs a gap of 10 between the highest and the lowest, over 10 tokens one of 2.2. Of use on a pretrained model;
one that starts at random learns too little from k logits at a time.
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
TARGETS = "tokens"
SOURCE = "kexue.fm/archives/8046"


class Config(Section):
    """How many logits take part."""

    k: int = Field(10, ge=1, description="largest logits in the normaliser; as many as the vocabulary: cross entropy")


class Loss:
    """Mean of logsumexp(k largest logits) - target's logit, in nats.

    A target outside the k largest keeps its own term and is not added to the normaliser: the loss is then positive, and
    its gradient still raises the target.
    """

    def __init__(self, config: Config, _: LossFacts | None = None) -> None:
        self.k = config.k

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (N, V) in any float type, `batch["targets"]` (N,) int64 in [0, V) -> 0-d float32."""
        logits = outputs["logits"].float()  # (N, V)
        largest = logits.topk(min(self.k, logits.shape[-1]), dim=-1).values  # (N, k)
        chosen = logits.gather(-1, batch["targets"][:, None]).squeeze(-1)  # (N,)
        return (largest.logsumexp(-1) - chosen).mean()
