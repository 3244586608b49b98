"""Flooding: below a level the loss is climbed instead of descended (arXiv 2002.08709, kexue.fm/archives/7643).

    loss = |L - level| + level

L is the loss of one batch, as in the paper: with `train.accumulation` each batch has a flood of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.tricks._shares import Stateless, with_loss

if TYPE_CHECKING:
    from nlpx.tricks._shares import Objective

WRAPS = "objective"
NEEDS: frozenset[str] = frozenset()
CONFLICTS: frozenset[str] = frozenset()
SOURCE = "arXiv 2002.08709, kexue.fm/archives/7643"
COST = "1.0 times the time"


class Config(Section):
    """The level of the flood."""

    level: float = Field(0.1, ge=0, description="nats; depends on the task, nobody's default; 0: no flood")


class Trick(Stateless):
    """Turns the gradient round where the loss is below the level."""

    def __init__(self, config: Config) -> None:
        self.level = config.level

    def wrap(self, inner: Objective) -> Objective:
        """The same objective under water in training."""
        if self.level == 0:
            return inner

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            found = inner(model, batch)
            if not model.training:
                return found
            return with_loss(found, (found.loss - self.level).abs() + self.level, trick="flooding")

        return objective
