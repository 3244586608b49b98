"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, 2017), fused where torch has a kernel.

Inside wrappers, and without bias correction, it is the rule below; the two agree within rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveFloat

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    import torch

    from nlpx.optim.derived import Proposal

# Where torch has a fused kernel; elsewhere it refuses the flag.
FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})

Beta = Annotated[float, Field(ge=0, lt=1)]

SOURCE = "arXiv 1711.05101"
COST = "two copies of the weights"


class Config(Section):
    """What only AdamW has."""

    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.999), description="decay of the first and the second moment")
    epsilon: PositiveFloat = Field(default=1e-6, description="added outside the root, as BERT's own optimizer does")
    bias_correction: bool = Field(
        default=True, description="divide the moments by 1 - beta^t, t counting updates; BERT's and LAMB's own do not"
    )


class Rule:
    """The two moments, and a step of the first over the root of the second."""

    can_accumulate = True

    def __init__(self, config: Config) -> None:
        self.config = config

    def accumulate(self, proposal: Proposal, fraction: float) -> None:
        """Take the gradients into the first moment, their squares into the second."""
        import torch

        (first, second), gradients = self._moments(proposal), proposal.gradients
        beta, beta_square = self.config.betas
        torch._foreach_mul_(first, proposal.decays(beta))
        torch._foreach_add_(first, gradients, alpha=(1 - beta) * fraction)
        torch._foreach_mul_(second, proposal.decays(beta_square))
        torch._foreach_addcmul_(second, gradients, gradients, value=(1 - beta_square) * fraction)

    def propose(self, proposal: Proposal) -> None:
        """Against first / (sqrt(second) + epsilon), by the rate."""
        import torch

        first, second = self._moments(proposal)
        corrections = [self._corrections(count) for count in proposal.num_updates]
        divisors = list(torch._foreach_sqrt(second))
        torch._foreach_div_(divisors, [root for _, root in corrections])
        torch._foreach_add_(divisors, self.config.epsilon)
        proposal.changes = list(torch._foreach_div(first, divisors))
        torch._foreach_mul_(proposal.changes, [-proposal.rate / mean for mean, _ in corrections])

    def _moments(self, proposal: Proposal) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        return proposal.moments("first"), proposal.moments("second")

    def _corrections(self, num_updates: int) -> tuple[float, float]:
        if not self.config.bias_correction:
            return 1.0, 1.0
        beta, beta_square = self.config.betas
        return 1 - beta**num_updates, (1 - beta_square**num_updates) ** 0.5


def build(groups: list[dict[str, Any]], config: Config) -> torch.optim.Optimizer:
    """An AdamW over parameter groups that carry `lr` and `weight_decay` (`nlpx.optim.groups`)."""
    import torch

    from nlpx.optim.derived import DerivedOptimizer

    if not config.bias_correction:
        return DerivedOptimizer(groups, Rule(config))
    devices = {parameter.device.type for group in groups for _, parameter in group["params"]}
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.epsilon, fused=devices <= FUSED_DEVICES)
