"""Gradient accumulation hidden in the moments (Su Jianlin, kexue.fm/archives/8634): no gradient outlives its batch.

A moment decays once an update and takes in each of the k gradients at a k-th of its weight. For `sgd` with momentum
and for `tiger` the update is exactly that of the mean gradient. For `adamw` the first moment is exact too, but the
second one averages the squares instead of squaring the average: it is larger by up to k where gradients are mostly
noise, so steps get shorter, down to 1 / sqrt(k) of the rate. Corrections count updates; epsilon stays outside the root.

Gradients are clipped to `train.max_gradient_norm` batch by batch, which is not the same as clipping their mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from nlpx.optim.derived import Proposal

SOURCE = "kexue.fm/archives/8634"
COST = "one copy of the weights less than a buffer"


class Config(Section):
    """How many gradients make an update."""

    steps: PositiveInt = Field(default=2, description="gradients per update; rates and steps of a run count updates")


class Wrapper:
    """Lets the optimizer move only after so many gradients; its place among the wrappers does not matter."""

    def __init__(self, config: Config) -> None:
        self.window = config.steps

    def __call__(self, proposal: Proposal) -> None:
        """Leave the changes as they are: what is proposed after a whole window needs no more."""
