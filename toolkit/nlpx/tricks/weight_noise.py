"""Noise on the weights: every update's gradient is taken at weights that are moved at random.

    W <- W + scale * std(W) * N(0, 1) for the forward and the backward pass, then W itself again

(arXiv 1308.0850, which draws it for each sequence.) A flat minimum hardly notices. The noise follows
the spread of each matrix, so that one scale serves all; vectors, such as biases and norms, have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.tricks._shares import Stateless

if TYPE_CHECKING:
    from collections.abc import Callable

    Backward = Callable[[Any, list[Any]], Any]

WRAPS = "backward"
NEEDS: frozenset[str] = frozenset()
CONFLICTS: frozenset[str] = frozenset()
SOURCE = "arXiv 1308.0850"
COST = "1.1 times the time, two more copies of the weights"


class Config(Section):
    """How much noise."""

    scale: float = Field(0.01, ge=0, description="of the standard deviation of each matrix; 0: none")


class Trick(Stateless):
    """Moves the weights at random while their gradient is taken."""

    def __init__(self, config: Config) -> None:
        self.scale = config.scale

    def wrap(self, inner: Backward) -> Backward:
        """The same backward pass at other weights; the very same ones are there again behind it."""
        if self.scale == 0:
            return inner

        def backward(model: Any, batches: list[Any]) -> Any:
            import torch

            from nlpx.tricks._weights import matrices, swapped

            with torch.no_grad():
                weights = list(matrices(model).values())
                noisy = [weight + self.scale * weight.std() * torch.randn_like(weight) for weight in weights]
            with swapped(weights, noisy):
                return inner(model, batches)

        return backward
