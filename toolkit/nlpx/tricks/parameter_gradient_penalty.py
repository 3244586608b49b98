"""A penalty on the gradient of the weights (explicit regularisation of arXiv 2009.11162; kexue.fm/archives/7787).

    loss = L + weight * |dL / dtheta|^2

Gradient descent at the rate r follows, to first order, the flow of L + r / 4 |dL / dtheta|^2: small steps lose a little
of it, which this puts back. The gradient is that of one batch, over all weights that are trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.tricks._shares import Stateless, with_loss

if TYPE_CHECKING:
    from nlpx.tricks._shares import Objective

WRAPS = "objective"
NEEDS: frozenset[str] = frozenset()
CONFLICTS: frozenset[str] = frozenset()
SECOND_ORDER = True
SOURCE = "arXiv 2009.11162, kexue.fm/archives/7787"
COST = "3.3 times the time, twice the memory of activations"


class Config(Section):
    """How much the gradient counts."""

    weight: float = Field(0.01, ge=0, description="of the squared norm; nobody's default; 0: no penalty")


class Trick(Stateless):
    """Differentiates the loss twice."""

    def __init__(self, config: Config) -> None:
        self.weight = config.weight

    def wrap(self, inner: Objective) -> Objective:
        """The same objective with the penalty in training."""
        if self.weight == 0:
            return inner

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            import torch

            from nlpx.tricks._second_order import twice_differentiable

            if not model.training:
                return inner(model, batch)
            weights = [weight for weight in model.parameters() if weight.requires_grad]
            with twice_differentiable():
                found = inner(model, batch)
                with torch.autocast(found.loss.device.type, enabled=False):
                    gradients = torch.autograd.grad(found.loss, weights, create_graph=True, allow_unused=True)
            squares = sum(gradient.square().sum() for gradient in gradients if gradient is not None)
            return with_loss(found, found.loss + self.weight * squares, trick="parameter_gradient_penalty")

        return objective
