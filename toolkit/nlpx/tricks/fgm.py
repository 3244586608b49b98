"""FGM: train on the input moved to where the loss grows fastest (arXiv 1605.07725, kexue.fm/archives/7234).

    move = epsilon G / (|G| + 1e-8),    loss = L(E + move)

On the `table`, as in the post's code, G is the gradient of the word table E as a table of inputs, and |G| the norm of
the whole of it. On the `output`, as in the paper, G is the gradient at the looked-up vectors, |G| that of each text.
The loss of the unmoved input only shows the way: the gradient is that of the moved one.
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
CONFLICTS = frozenset({"pgd"})
SOURCE = "arXiv 1605.07725, kexue.fm/archives/7234"
COST = "1.8 times the time"


class Config(Section):
    """How far the input moves, and what moves."""

    epsilon: float = Field(0.5, ge=0, description="length of the move; the post's scripts take 0.5; 0: no move")
    on: Literal["table", "output"] = Field(
        "table", description="`table`: a token moves alike wherever it occurs; `output`: each occurrence by itself"
    )


class Trick(Stateless):
    """Looks for the worst direction, then trains there."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def wrap(self, inner: Objective) -> Objective:
        """The same objective on the moved input in training."""
        if self.config.epsilon == 0:
            return inner

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            from nlpx.tricks._inputs import Moves, recorded

            if not model.training:
                return inner(model, batch)
            with recorded(model) as lookups:
                clean = inner(model, batch)
            moves = Moves(self.config.on, model, lookups)
            move = moves.scaled(moves.gradient(clean.loss, lookups), self.config.epsilon)
            with moves.applied(move):
                found = inner(model, batch)
            return with_loss(found, found.loss, trick="fgm", before=clean.loss)

        return objective
