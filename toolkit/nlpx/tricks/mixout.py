"""Mixout: at random, weights are those that training started from (arXiv 1909.11299).

    W' = (m W0 + (1 - m) W - p W0) / (1 - p),    m = 1 with probability p, for each number of a matrix

W' has W for its mean, and dropout is the case W0 = 0. It holds a large model with few rows near where it started. Each
update has masks of its own. W0 is what the trick finds at the first update, and is saved with the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Backward = Callable[[Any, list[Any]], Any]

WRAPS = "backward"
NEEDS: frozenset[str] = frozenset()
CONFLICTS: frozenset[str] = frozenset()
SOURCE = "arXiv 1909.11299"
COST = "1.1 times the time, three more copies of the weights"

HEADS = ("*classifier*", "*pair_classifier*", "*_head*")


class Config(Section):
    """How many of the numbers go back, and in which weights."""

    probability: float = Field(0.1, ge=0, lt=1, description="of a number to be that of the start; 0: none")
    exclude: tuple[str, ...] = Field(
        ("*embeddings*", *HEADS), description="name patterns of matrices left alone: tables, and heads, which are new"
    )


class Trick:
    """Mixes weights with those of the start while their gradient is taken."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.start: dict[str, Tensor] = {}

    def wrap(self, inner: Backward) -> Backward:
        """The same backward pass at mixed weights; the very same ones are there again behind it."""
        probability = self.config.probability
        if probability == 0:
            return inner

        def backward(model: Any, batches: list[Any]) -> Any:
            import torch

            from nlpx.tricks._weights import matrices, swapped

            named = matrices(model, self.config.exclude)
            weights, start = list(named.values()), self._start(named)
            with torch.no_grad():
                kept = [(torch.rand_like(weight) >= probability) / (1 - probability) for weight in weights]
                # The same formula, ordered so that kept * (W - W0) is all that training has changed.
                mixed = [own + mask * (weight - own) for weight, own, mask in zip(weights, start, kept, strict=True)]
            with swapped(weights, mixed):
                found = inner(model, batches)
            with torch.no_grad():
                for weight, mask in zip(weights, kept, strict=True):
                    if weight.grad is not None:
                        weight.grad.mul_(mask)
            return found

        return backward

    def state_dict(self) -> dict[str, Any]:
        """The weights of the start, by name."""
        return {"start": dict(self.start)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the weights of the start."""
        self.start = dict(state["start"])

    def _start(self, named: dict[str, Tensor]) -> list[Tensor]:
        if not self.start:
            self.start = {name: weight.detach().clone() for name, weight in named.items()}
        if named.keys() != self.start.keys():
            odd = min(named.keys() ^ self.start.keys())
            raise InputError(f"the saved weights of the start and the model differ in `{odd}`", hint="start anew")
        for name, weight in named.items():  # a loaded one lies on the CPU until it meets its model
            self.start[name] = self.start[name].to(weight.device)
        return [self.start[name] for name in named]
