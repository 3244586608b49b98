"""Virtual adversarial training: the prediction shall not change in the direction it is most sensitive to.

    u <- u / |u|,  u <- gradient at the input of D(P, prediction at xi u)      power iterations, from a random u
    loss = L + weight * D(P, prediction at epsilon u / |u|)

(arXiv 1704.03976, kexue.fm/archives/7466.) P is the prediction for the unmoved input, without dropout and without a
gradient, and D the divergence KL(P || Q). No label is needed for the second part. As in the post's code, u is a move of
the whole word `table`, drawn and measured over all its rows; on the `output` it is one of the looked-up vectors, and
measured text by text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat

from nlpx.configuration.section import Section
from nlpx.tricks._divergence import check_logits, each_way
from nlpx.tricks._shares import Stateless, with_loss

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.tricks._inputs import Moves
    from nlpx.tricks._shares import Objective

WRAPS = "objective"
NEEDS = frozenset({"logits"})
CONFLICTS: frozenset[str] = frozenset()
SOURCE = "arXiv 1704.03976, kexue.fm/archives/7466"
COST = "3.1 times the time"


class Config(Section):
    """How far the input moves, how the direction is found, and what the difference counts."""

    epsilon: float = Field(1.0, ge=0, description="length of the move; 0: no move")
    weight: float = Field(1.0, ge=0, description="of the divergence; 0: none")
    xi: PositiveFloat = Field(10.0, description="length of the move at which the direction is looked for")
    iterations: NonNegativeInt = Field(1, description="of the search; 0: a random direction")
    on: Literal["table", "output"] = Field(
        "table", description="`table`: a token moves alike wherever it occurs; `output`: each occurrence by itself"
    )
    divergence: Literal["kl", "bernoulli", "mse"] = Field(
        "kl", description="`kl` of classes, `bernoulli` of several labels, `mse` of numbers"
    )


class Trick(Stateless):
    """Adds the divergence from the prediction at the worst move."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def wrap(self, inner: Objective) -> Objective:
        """The same objective with the divergence in training."""
        config = self.config
        if config.epsilon == 0 or config.weight == 0:
            return inner

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            from nlpx.tricks._inputs import Moves, recorded

            found = inner(model, batch)
            if not model.training:
                return found
            with recorded(model) as lookups, _evaluating(model):
                target = inner(model, batch).outputs["logits"]
            check_logits(target, batch, config.divergence, trick="vat")
            moves = Moves(config.on, model, lookups)
            direction = self.direction(inner, model, batch, target, moves)
            with moves.applied(moves.scaled(direction, config.epsilon) if config.iterations else direction):
                moved = inner(model, batch).outputs["logits"]
            divergence = each_way(target, moved, config.divergence)
            return with_loss(found, found.loss + config.weight * divergence, trick="vat")

        return objective

    def direction(
        self, inner: Objective, model: Any, batch: dict[str, Any], target: Tensor, moves: Moves
    ) -> list[Tensor]:
        """The move that changes the prediction most, of any length; without iterations a random one of `epsilon`."""
        from nlpx.tricks._inputs import recorded

        config = self.config
        if config.iterations == 0:
            return moves.random(config.epsilon)
        direction = moves.random(config.xi)
        for number in range(config.iterations):
            with moves.applied(direction), recorded(model) as lookups:
                moved = inner(model, batch).outputs["logits"]
            gradient = moves.gradient(each_way(target, moved, config.divergence), lookups)
            direction = moves.scaled(gradient, config.xi) if number + 1 < config.iterations else gradient
        return direction


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Without dropout and without a graph."""
    import torch

    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train()
