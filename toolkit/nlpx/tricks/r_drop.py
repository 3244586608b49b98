"""R-Drop: two dropout masks, two predictions, and a penalty on their difference (arXiv 2106.14448).

Every batch is read twice, with independent dropout. Of each row, or of each target token, P and Q are the two
predictions, and D their divergence, KL(P || Q) of distributions over classes. Three ways to weigh it are in use:

    code          (L1 + L2) / 2 + alpha / 4 * (D(P, Q) + D(Q, P))    the code of kexue.fm/archives/8496
    paper          L1 + L2      + alpha / 2 * (D(P, Q) + D(Q, P))    the paper and that post: twice as much of all
    repository    (L1 + L2) / 2 + alpha / 2 * (D(P, Q) + D(Q, P))    the README of the paper's code

All of them are means over the rows; that README sums D over the batch, which makes alpha depend on its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.tricks._divergence import both_ways, check_logits
from nlpx.tricks._shares import Stateless, mean_of, with_loss

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.tricks._shares import Objective

WRAPS = "objective"
NEEDS = frozenset({"logits"})
CONFLICTS: frozenset[str] = frozenset()
SOURCE = "arXiv 2106.14448, kexue.fm/archives/8496"
COST = "2.0 times the time"

WEIGHTS = {"code": (1.0, 0.25), "paper": (2.0, 0.5), "repository": (1.0, 0.5)}  # of the mean loss, of alpha


class Config(Section):
    """How much a difference counts, and what it is."""

    alpha: float = Field(4.0, ge=0, description="of the two divergences; 0: one pass, and no penalty")
    normalization: Literal["code", "paper", "repository"] = Field(
        "code", description="how losses and divergences are weighed against each other"
    )
    divergence: Literal["kl", "bernoulli", "mse"] = Field(
        "kl", description="`kl` of classes, `bernoulli` of several labels, `mse` of numbers"
    )


class Trick(Stateless):
    """Runs the objective twice in training; needs dropout, without which both passes are equal."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def wrap(self, inner: Objective) -> Objective:
        """The same objective with the penalty in training, and as it is in evaluation."""
        if self.config.alpha == 0:
            return inner
        of_losses, of_alpha = WEIGHTS[self.config.normalization]

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            first = inner(model, batch)
            if not model.training:
                return first
            check_logits(first.outputs["logits"], batch, self.config.divergence, trick="r_drop")
            second = inner(model, batch)
            divergence = both_ways(first.outputs["logits"], second.outputs["logits"], self.config.divergence)
            found = mean_of([first, second])
            return with_loss(found, of_losses * found.loss + of_alpha * self.config.alpha * divergence, trick="r_drop")

        return objective


def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Mean over the rows of KL(P || Q) + KL(Q || P) in nats, logits (N, C) each -> 0-d float32; 0 without rows.

    Raises `UsageError` for logits that are no distribution over classes.
    """
    check_logits(first, {}, "kl", trick="r_drop")
    return both_ways(first, second, "kl")
