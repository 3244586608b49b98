"""Any `torch.optim.Optimizer` as the rule inside wrappers: what it proposes is what it would have changed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from nlpx.optim.derived import Proposal


class Foreign:
    """Steps the optimizer, reads off the change, and takes it back.

    The change is a difference of weights, so it carries their rounding: relative to the change, about 1e-4 in float32
    at usual rates. Weight decay is left to the derived optimizer: decoupled, also where the optimizer's own is not.
    """

    can_accumulate = False

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.initial = optimizer.state  # some fill it when they are made

    def accumulate(self, proposal: Proposal, fraction: float) -> None:
        """Nothing: the optimizer reads the gradients itself when it proposes."""

    def propose(self, proposal: Proposal) -> None:
        """One step of the optimizer on these parameters alone, its state kept in ours so that it is saved with it."""
        before = [parameter.clone() for parameter in proposal.parameters]
        inner: dict[Any, Any] = {
            parameter: state.setdefault("inner", self.initial.get(parameter, {}))
            for parameter, state in zip(proposal.parameters, proposal.states, strict=True)
        }
        self.optimizer.state = defaultdict(dict, inner)
        group = self.optimizer.defaults | proposal.group
        self.optimizer.param_groups = [group | {"params": proposal.parameters, "weight_decay": 0.0}]
        self.optimizer.step()
        proposal.changes = list(torch._foreach_sub(proposal.parameters, before))
        torch._foreach_copy_(proposal.parameters, before)
