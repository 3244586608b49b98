"""Derived optimizers: a rule proposes a change of the weights, wrappers change the proposal, then the weights move.

The six derived optimizers of bert4keras (Su Jianlin) patch the assignment inside the parent's update. Here a step has
two halves instead, and nothing is patched:

    accumulate(fraction)    the rule takes the gradients into its moments
    move()                  the rule proposes a change, each wrapper alters it, innermost first, and it is added

That one gradient and one change suffice for all wrappers is what lets them nest in any order, and that the two halves
are apart is what hides gradient accumulation in the moments (`hidden_accumulation`). Decoupled weight decay is a
wrapper like any other: the innermost unless it is named at another place.

Tensors come in lists, a whole group at once where launching kernels is what costs. On a CPU it is one parameter at a
time, so that its moments stay in the cache and only one change exists at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from nlpx.configuration import registry
from nlpx.configuration.section import Section
from nlpx.errors import UsageError
from nlpx.optim.foreign import Foreign
from nlpx.optim.weight_decay import Wrapper as WeightDecay


@dataclass
class Proposal:
    """What is about to happen to some parameters of one group: lists in one order."""

    names: list[str]
    parameters: list[Tensor]
    gradients: list[Tensor]  # fewer than parameters where hidden accumulation has freed them
    states: list[dict[str, Any]]  # what is remembered of each parameter: by the rule, and by wrappers under their name
    group: dict[str, Any]
    changes: list[Tensor] = field(default_factory=list)  # to be added to the parameters

    @property
    def rate(self) -> float:
        """The learning rate of this update."""
        return float(self.group["lr"])

    @property
    def num_updates(self) -> list[int]:
        """How many updates each parameter will have had after this one."""
        return [state["updates"] for state in self.states]

    def moments(self, name: str) -> list[Tensor]:
        """A state tensor per parameter, zero at first."""
        for parameter, state in zip(self.parameters, self.states, strict=True):
            if name not in state:
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return [state[name] for state in self.states]

    def decays(self, decay: float) -> list[float]:
        """The factor on each moment: `decay` once in an update, at its first gradient, then 1."""
        return [1.0 if state["is_accumulating"] else decay for state in self.states]


class Rule(Protocol):
    """What `optim/<name>.py` calls `Rule`: a base optimizer in two halves, without weight decay."""

    can_accumulate: bool  # whether `accumulate` may be called several times before `propose`

    def accumulate(self, proposal: Proposal, fraction: float) -> None: ...
    def propose(self, proposal: Proposal) -> None: ...


Wrapper = Callable[[Proposal], None]  # what `optim/<name>.py` calls `Wrapper`, built from its config


# Names in the saved states of earlier versions, from which runs can still be resumed.
RENAMED_STATE = {"gathering": "is_accumulating", "num_gathered": "num_accumulated"}


class DerivedOptimizer(Optimizer):
    """A rule inside wrappers, innermost first.

    groups: as `nlpx.optim.groups` makes them, or as torch takes them with named parameters. Raises `UsageError` if a
    wrapper asks of the rule what it cannot do.
    """

    def __init__(self, groups: list[dict[str, Any]], rule: Rule, wrappers: Sequence[Wrapper] = ()) -> None:
        super().__init__(groups, {"weight_decay": 0.0, "num_accumulated": 0})
        decaying = any(isinstance(wrapper, WeightDecay) for wrapper in wrappers)
        self.rule = rule
        self.wrappers: list[Wrapper] = list(wrappers) if decaying else [WeightDecay(), *wrappers]
        self.window: int = max(getattr(wrapper, "window", 1) for wrapper in self.wrappers)
        if self.window > 1 and not rule.can_accumulate:
            raise UsageError("`hidden_accumulation` works in the moments of the optimizer, and this one keeps its own")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, in this version or an earlier one."""
        groups = [_with_new_names(group) for group in state_dict["param_groups"]]
        states = {key: _with_new_names(state) for key, state in state_dict["state"].items()}
        super().load_state_dict({"state": states, "param_groups": groups})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Accumulate the gradients in the moments; of every `window` calls the last one moves the weights."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.accumulate(1 / self.window)
        if self.param_groups[0]["num_accumulated"] == self.window:
            self.move()
        return loss

    @torch.no_grad()
    def accumulate(self, fraction: float = 1.0) -> None:
        """Add the gradients to the moments, as `fraction` of the coming update; no weight moves."""
        for group in self.param_groups:
            group["num_accumulated"] += 1
            for proposal in self._proposals(group, lambda parameter: parameter.grad is not None):
                self.rule.accumulate(proposal, fraction)
                for state in proposal.states:
                    state["is_accumulating"] = True

    @torch.no_grad()
    def move(self) -> None:
        """Change the parameters that have accumulated gradients since the last move; the others stay untouched."""
        for group in self.param_groups:
            group["num_accumulated"] = 0
            for proposal in self._proposals(
                group, lambda parameter: self.state[parameter].get("is_accumulating", False)
            ):
                for state in proposal.states:
                    state["updates"] += 1
                    state["is_accumulating"] = False
                self.rule.propose(proposal)
                for wrapper in self.wrappers:
                    wrapper(proposal)
                torch._foreach_add_(proposal.parameters, proposal.changes)

    def _proposals(self, group: dict[str, Any], chosen: Callable[[Tensor], bool]) -> Iterator[Proposal]:
        names = group.get("param_names") or [""] * len(group["params"])
        members = [(name, parameter) for name, parameter in zip(names, group["params"], strict=True)]
        members = [(name, parameter) for name, parameter in members if chosen(parameter)]
        for part in _parts(members):
            for _, parameter in part:
                if not self.state[parameter]:
                    self.state[parameter].update(updates=0, is_accumulating=False)
            yield Proposal(
                names=[name for name, _ in part],
                parameters=[parameter for _, parameter in part],
                gradients=[parameter.grad for _, parameter in part if parameter.grad is not None],
                states=[self.state[parameter] for _, parameter in part],
                group=group,
            )


def derive(groups: list[dict[str, Any]], name: str, options: Any, wrappers: Mapping[str, Section]) -> DerivedOptimizer:
    """The optimizer of `optim/<name>.py` inside the configured wrappers, innermost first."""
    module = registry.load("optim", name)
    own = [dict(group) for group in groups]  # torch changes the groups it is given
    rule = module.Rule(options) if hasattr(module, "Rule") else Foreign(module.build(own, options))
    around = [registry.load("optim", wrapper).Wrapper(settings) for wrapper, settings in wrappers.items()]
    return DerivedOptimizer(groups, rule, around)


def _with_new_names(values: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED_STATE.get(name, name): value for name, value in values.items()}


def _parts(members: list[tuple[str, Tensor]]) -> list[list[tuple[str, Tensor]]]:
    if members and all(_is_cheap_alone(parameter) for _, parameter in members):
        return [[member] for member in members]
    return [members] if members else []


def _is_cheap_alone(parameter: Tensor) -> bool:
    # The norm of a sharded parameter needs communication between all processes: better once for the whole group.
    return parameter.device.type == "cpu" and not hasattr(parameter, "full_tensor")
