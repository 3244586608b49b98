"""Decoupled weight decay as a wrapper: dx <- dx - rate * decay * theta.

Every derived optimizer has it, innermost: layer adaptation then sees the decay, as LAMB does. Named among the
wrappers it acts at its place there. How much is `optim.weight_decay` and the rules, by parameter. After bert4keras'
`extend_with_weight_decay`; with plain SGD it is the gradient of decay / 2 * |theta|^2, with Adam it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from nlpx.optim.derived import Proposal

SOURCE = "arXiv 1711.05101"
COST = "no fused kernel"


class Config(Section):
    """Nothing but the place in the order."""


class Wrapper:
    """Pulls each weight towards zero by its group's decay, computed from the weight before the step."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config

    def __call__(self, proposal: Proposal) -> None:
        """Add the decay to the changes."""
        import torch

        if proposal.group["weight_decay"]:
            scale = -proposal.rate * proposal.group["weight_decay"]
            torch._foreach_add_(proposal.changes, proposal.parameters, alpha=scale)
