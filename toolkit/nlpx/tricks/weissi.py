"""WEISSI: a penalty on the weights that does not change when scale moves from one layer to another.

    norm_weight * sum over l of log |W_l|  +  direction_weight * sum over l of |W_l / |W_l||_1

(kexue.fm/archives/7681.) |W| is the Frobenius norm. In a net of layers with positively homogeneous activations, such as
ReLU, W_l = g_l V_l with all g_l together 1 computes the same function, while the squares of weight decay change; see
`rescaled` and `balance`. With others, such as GELU, and around norms and residual sums it holds approximately at best.
Nothing bounds log |W| from below, so norms count as at least 1e-8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, fsum, log, prod
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeFloat

from nlpx.configuration.section import Section
from nlpx.tricks._shares import Stateless, with_loss

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.tricks._shares import Objective

WRAPS = "objective"
NEEDS: frozenset[str] = frozenset()
CONFLICTS: frozenset[str] = frozenset()
SOURCE = "kexue.fm/archives/7681"
COST = "1.0 times the time; in place of optim.weight_decay"

SMALLEST = 1e-8


class Config(Section):
    """How much each part counts, and of which weights."""

    norm_weight: NonNegativeFloat = Field(1e-4, description="of the logarithms of the norms; no default is published")
    direction_weight: NonNegativeFloat = Field(1e-4, description="of the sums over the weights at norm 1")
    exclude: tuple[str, ...] = Field(("*embeddings*",), description="name patterns of matrices left alone")


class Trick(Stateless):
    """Adds the penalty on the matrices of the model."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def wrap(self, inner: Objective) -> Objective:
        """The same objective with the penalty in training."""
        config = self.config
        if config.norm_weight == 0 and config.direction_weight == 0:
            return inner

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            found = inner(model, batch)
            if not model.training:
                return found
            from nlpx.tricks._weights import matrices

            norms, directions = penalties(list(matrices(model, config.exclude).values()))
            loss = found.loss + config.norm_weight * norms + config.direction_weight * directions
            return with_loss(found, loss, trick="weissi")

        return objective


def penalties(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sum of log |W| and sum of |W / |W||_1 over matrices of any shape, 0-d each."""
    import torch

    norms = torch.stack([torch.linalg.vector_norm(weight) for weight in weights]).clamp(min=SMALLEST)  # (L,)
    sums = torch.stack([weight.abs().sum() for weight in weights])  # (L,)
    return norms.log().sum(), (sums / norms).sum()


@dataclass(frozen=True)
class Balance:
    """How evenly scale is spread over the matrices of a net."""

    norms: dict[str, float]  # by name
    squares: float  # the sum of |W_l|^2, which weight decay lowers
    smallest: float  # the least it can be at the same function, with all norms equal: L (|W_1| ... |W_L|)^(2/L)

    @property
    def factors(self) -> dict[str, float]:
        """What each matrix is to be multiplied by to get there; their product is 1."""
        mean = (self.smallest / len(self.norms)) ** 0.5
        return {name: mean / norm for name, norm in self.norms.items()}


def balance(weights: Mapping[str, Tensor]) -> Balance:
    """The norms of some matrices, and how far their squares are from the least that rescaling allows."""
    norms = {name: max(float(weight.detach().norm()), SMALLEST) for name, weight in weights.items()}
    mean_log = fsum(map(log, norms.values())) / len(norms)
    return Balance(norms, fsum(norm**2 for norm in norms.values()), len(norms) * exp(2 * mean_log))


def rescaled(layers: Sequence[tuple[Tensor, Tensor | None]], factors: Sequence[float]) -> list[tuple[Tensor, Any]]:
    """Layers (weight, bias) of a homogeneous net with scale moved between them: the same function if the product is 1.

    W_l is multiplied by its factor, and the bias by all factors up to it: what it is added to has been multiplied by
    them too. (The post multiplies each bias by its own factor alone, which changes the function.)
    """
    return [
        (weight * factor, None if bias is None else bias * prod(factors[: number + 1]))
        for number, ((weight, bias), factor) in enumerate(zip(layers, factors, strict=True))
    ]
