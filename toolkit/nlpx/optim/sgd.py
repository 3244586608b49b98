"""SGD whose momentum is an average: m <- momentum m + (1 - momentum) g, then theta <- theta - rate m.

torch's own sums the gradients instead (m <- momentum m + g), so its rate has to be smaller by 1 - momentum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    import torch

    from nlpx.optim.derived import Proposal

SOURCE = ""
COST = "one copy of the weights"


class Config(Section):
    """What only SGD has."""

    momentum: float = Field(default=0.9, ge=0, lt=1, description="fraction of the average that stays; 0: none")


class Rule:
    """The average gradient, and a step against it."""

    can_accumulate = True

    def __init__(self, config: Config) -> None:
        self.momentum = config.momentum

    def accumulate(self, proposal: Proposal, fraction: float) -> None:
        """Take the gradients into the average."""
        import torch

        average = proposal.moments("average")
        torch._foreach_mul_(average, proposal.decays(self.momentum))
        torch._foreach_add_(average, proposal.gradients, alpha=(1 - self.momentum) * fraction)

    def propose(self, proposal: Proposal) -> None:
        """Against the average gradient, by the rate."""
        import torch

        proposal.changes = list(torch._foreach_mul(proposal.moments("average"), -proposal.rate))


def build(groups: list[dict[str, Any]], config: Config) -> torch.optim.Optimizer:
    """SGD over parameter groups that carry `lr` and `weight_decay` (`nlpx.optim.groups`)."""
    from nlpx.optim.derived import DerivedOptimizer

    return DerivedOptimizer(groups, Rule(config))
