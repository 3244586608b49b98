"""A penalty on the gradient at the input: the loss shall not depend on small moves (kexue.fm/archives/7234).

    loss = L + epsilon / 2 * sum over all tokens of |dL / de|^2

e is the vector of one occurrence of a token, as in the post's code: a token that occurs twice counts twice. On the
`table` the gradients of all occurrences of a token are summed before they are squared. L is the mean over the batch,
so the penalty shrinks with the batch; with `train.accumulation` each batch has its own. To first order this is `fgm`
whose move is epsilon G instead of epsilon G / |G|.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.tricks._shares import Stateless, with_loss

if TYPE_CHECKING:
    from nlpx.tricks._shares import Objective

WRAPS = "objective"
NEEDS: frozenset[str] = frozenset()
CONFLICTS: frozenset[str] = frozenset()
SECOND_ORDER = True
SOURCE = "kexue.fm/archives/7234"
COST = "2.5 times the time"


class Config(Section):
    """How much the gradient counts, and which."""

    epsilon: float = Field(1.0, ge=0, description="twice the weight of the squares; 0: no penalty")
    on: Literal["output", "table"] = Field(
        "output", description="`output`: each occurrence of a token by itself; `table`: summed over the occurrences"
    )


class Trick(Stateless):
    """Differentiates the loss twice."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def wrap(self, inner: Objective) -> Objective:
        """The same objective with the penalty in training."""
        if self.config.epsilon == 0:
            return inner

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            from nlpx.tricks._inputs import Moves, recorded
            from nlpx.tricks._second_order import twice_differentiable

            if not model.training:
                return inner(model, batch)
            with recorded(model) as lookups, twice_differentiable():
                found = inner(model, batch)
                gradient = Moves(self.config.on, model, lookups).gradient(found.loss, lookups, create_graph=True)
            squares = sum(part.square().sum() for part in gradient)
            return with_loss(found, found.loss + self.config.epsilon / 2 * squares, trick="gradient_penalty")

        return objective
