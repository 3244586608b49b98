"""PGD: several small steps towards a worse input, never further than a radius (arXiv 1706.06083).

    move <- clip(move + step G / |G|, epsilon),    loss = L(E + move) after the last step

G is the gradient at the input as it is moved so far. What moves, and whose norm is meant, is as in `fgm`, which is one
step of full length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from nlpx.configuration.section import Section
from nlpx.tricks._shares import Stateless, with_loss

if TYPE_CHECKING:
    from nlpx.tricks._shares import Objective

WRAPS = "objective"
NEEDS: frozenset[str] = frozenset()
CONFLICTS = frozenset({"fgm"})
SOURCE = "arXiv 1706.06083"
COST = "3.3 times the time with 3 steps"


class Config(Section):
    """How far the input moves, in which steps, and what moves."""

    epsilon: float = Field(1.0, ge=0, description="longest move; 0: no move")
    step: PositiveFloat = Field(0.3, description="length of a step")
    steps: PositiveInt = Field(3, description="how many; each costs a forward pass and half a backward pass")
    on: Literal["table", "output"] = Field(
        "table", description="`table`: a token moves alike wherever it occurs; `output`: each occurrence by itself"
    )


class Trick(Stateless):
    """Walks towards a worse input, then trains there."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def wrap(self, inner: Objective) -> Objective:
        """The same objective on the moved input in training."""
        config = self.config
        if config.epsilon == 0:
            return inner

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            from nlpx.tricks._inputs import Moves, recorded

            if not model.training:
                return inner(model, batch)
            with recorded(model) as lookups:
                clean = found = inner(model, batch)
            moves = Moves(config.on, model, lookups)
            step = moves.scaled(moves.gradient(clean.loss, lookups), config.step)
            move = moves.clipped(step, config.epsilon)
            for _ in range(config.steps - 1):
                with moves.applied(move), recorded(model) as lookups:
                    found = inner(model, batch)
                step = moves.scaled(moves.gradient(found.loss, lookups), config.step)
                move = moves.clipped([old + new for old, new in zip(move, step, strict=True)], config.epsilon)
            with moves.applied(move):
                found = inner(model, batch)
            return with_loss(found, found.loss, trick="pgd", before=clean.loss)

        return objective
