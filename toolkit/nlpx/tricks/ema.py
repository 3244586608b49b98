"""Evaluate with an exponential moving average of the weights; training itself does not change.

The rule of bert4keras' `extend_with_exponential_moving_average`: m_t = decay m_{t-1} + (1 - decay) theta_t
from m_0 = 0, read out as m_t / (1 - decay^t). What is kept here is the read-out itself, which obeys a_t =
a_{t-1} + (1 - decay) / (1 - decay^t) (theta_t - a_{t-1}): one pass, never a division by zero, and at any
moment a usable set of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

    Update = Callable[[Module, Optimizer], None]

WRAPS = "update"
NEEDS: frozenset[str] = frozenset()
CONFLICTS: frozenset[str] = frozenset()
SOURCE = "bert4keras, extend_with_exponential_moving_average"
COST = "1.0 times the time, one more copy of the weights"


class Config(Section):
    """How slowly the average follows."""

    decay: float = Field(default=0.999, ge=0, lt=1, description="0.9999 needs more than ten thousand updates to pay")


class Trick:
    """Averages the trainable weights after every update."""

    def __init__(self, config: Config) -> None:
        self.decay = config.decay
        self.num_updates = 0
        self.average: dict[str, Tensor] = {}

    def wrap(self, inner: Update) -> Update:
        """The same update, followed by one step of the average."""

        def update(model: Module, optimizer: Optimizer) -> None:
            inner(model, optimizer)
            self.follow(model)

        return update

    def follow(self, model: Module) -> None:
        """Move the average towards the weights of `model`."""
        import torch

        weights = _trainable(model)
        if not self.average:
            self.average = {name: weight.detach().clone() for name, weight in weights.items()}
        self.num_updates += 1
        share = (1 - self.decay) / (1 - self.decay**self.num_updates)
        with torch.no_grad():
            torch._foreach_lerp_(self._matching(weights), list(weights.values()), share)

    @contextmanager
    def evaluation_weights(self, model: Module) -> Iterator[None]:
        """Put the average into `model`, then the very same weights back; no average yet, no change."""
        import torch

        weights = _trainable(model) if self.average else {}
        current = [weight.detach().clone() for weight in weights.values()]
        with torch.no_grad():
            _copy(self._matching(weights), weights)
        try:
            yield
        finally:
            with torch.no_grad():
                _copy(current, weights)

    def state_dict(self) -> dict[str, Any]:
        """The average by parameter name, and the number of updates in it."""
        return {"num_updates": self.num_updates, "average": dict(self.average)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved average."""
        self.num_updates = state["num_updates"]
        self.average = dict(state["average"])

    def _matching(self, weights: dict[str, Tensor]) -> list[Tensor]:
        if weights.keys() - self.average.keys():
            missing = min(weights.keys() - self.average.keys())
            raise InputError(f"the saved average of the weights has no `{missing}`", hint="resume with the same model")
        for name, weight in weights.items():  # a loaded average lies on the CPU until it meets its model
            self.average[name] = self.average[name].to(weight.device)
        return [self.average[name] for name in weights]


def _trainable(model: Module) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _copy(sources: list[Tensor], weights: dict[str, Tensor]) -> None:
    for source, weight in zip(sources, weights.values(), strict=True):
        weight.copy_(source)
