"""Tiger: the sign of an average gradient (Su Jianlin, kexue.fm/archives/9512); one state tensor per parameter.

m <- beta m + (1 - beta) g, then theta <- theta - rate * (sign(m) + decay * theta). Every weight moves by the rate, so
rates are those of Lion, several times below AdamW's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    import torch

    from nlpx.optim.derived import Proposal

SOURCE = "kexue.fm/archives/9512"
COST = "one copy of the weights"


class Config(Section):
    """What only Tiger has."""

    beta: float = Field(default=0.965, ge=0, lt=1, description="decay of the average; the author takes 0.945 in vision")


class Rule:
    """The average gradient, and a step against its signs."""

    can_accumulate = True

    def __init__(self, config: Config) -> None:
        self.beta = config.beta

    def accumulate(self, proposal: Proposal, fraction: float) -> None:
        """Take the gradients into the average."""
        import torch

        average = proposal.moments("average")
        torch._foreach_mul_(average, proposal.decays(self.beta))
        torch._foreach_add_(average, proposal.gradients, alpha=(1 - self.beta) * fraction)

    def propose(self, proposal: Proposal) -> None:
        """Against the signs of the average gradient, by the rate."""
        import torch

        proposal.changes = list(torch._foreach_sign(proposal.moments("average")))
        torch._foreach_mul_(proposal.changes, -proposal.rate)


def build(groups: list[dict[str, Any]], config: Config) -> torch.optim.Optimizer:
    """A Tiger over parameter groups that carry `lr` and `weight_decay` (`nlpx.optim.groups`)."""
    from nlpx.optim.derived import DerivedOptimizer

    return DerivedOptimizer(groups, Rule(config))
