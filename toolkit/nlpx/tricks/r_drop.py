"""R-Drop: two dropout masks, two predictions, and a penalty on their difference (arXiv 2106.14448).

Every batch is read twice, with independent dropout. Of each row, or of each target token, P and Q are the two
distributions over the classes:

    loss = mean of both losses + alpha / 4 * mean of (KL(P || Q) + KL(Q || P))

This is how the code of Su Jianlin's account weighs the two parts (kexue.fm/archives/8496), exactly half of the formula
printed there and in the paper. The README of the paper's repository gives KL twice as much weight for the same alpha,
and sums it over the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section
from nlpx.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    Objective = Callable[[Any, dict[str, Any]], Any]

WRAPS = "objective"
NEEDS = frozenset({"logits"})
TARGETS = frozenset({"classes", "tokens"})  # of which the logits are one distribution
CONFLICTS: frozenset[str] = frozenset()


class Config(Section):
    """How much a difference counts."""

    alpha: float = Field(4.0, ge=0, description="of the two divergences; 0: one pass, and no penalty")


class Trick:
    """Runs the objective twice in training; needs dropout, without which both passes are equal."""

    def __init__(self, config: Config) -> None:
        self.alpha = config.alpha

    def wrap(self, inner: Objective) -> Objective:
        """The same objective with the penalty in training, and as it is in evaluation."""
        if self.alpha == 0:
            return inner

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            first = inner(model, batch)
            if not model.training:
                return first
            second = inner(model, batch)
            divergence = symmetric_divergence(first.outputs["logits"], second.outputs["logits"])
            return replace(first, loss=(first.loss + second.loss) / 2 + self.alpha / 4 * divergence)

        return objective

    def state_dict(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Mean over the rows of KL(P || Q) + KL(Q || P) in nats, logits (N, C) each -> 0-d float32; 0 without rows.

    Raises `UsageError` for logits that are no distribution over classes.
    """
    if first.dim() != 2 or first.shape[-1] < 2:
        raise UsageError(
            f"the trick `r_drop` compares distributions over classes, and the logits are {tuple(first.shape)}"
        )
    one, other = (logits.float().log_softmax(-1) for logits in (first, second))  # (N, C)
    # Both directions at once: sum of (P - Q)(log P - log Q).
    each = ((one.exp() - other.exp()) * (one - other)).sum(-1)  # (N,)
    return each.sum() / max(len(each), 1)
