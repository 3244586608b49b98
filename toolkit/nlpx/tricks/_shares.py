"""What each trick adds to a loss, so that a run can say where its loss comes from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Objective = Callable[[Any, dict[str, Any]], Any]


def with_loss(output: Any, loss: Tensor, *, trick: str, before: Tensor | None = None) -> Any:
    """`output` with another loss; its share of `trick` is what the loss exceeds `before` by, by default its own."""
    share = loss.detach() - (output.loss if before is None else before).detach()
    return replace(output, loss=loss, shares={**output.shares, trick: share})


def mean_of(outputs: list[Any]) -> Any:
    """The first of several outputs of one batch, with the mean of all their losses and shares."""
    first, count = outputs[0], len(outputs)
    shares = {name: sum(output.shares[name] for output in outputs) / count for name in first.shares}
    return replace(first, loss=sum(output.loss for output in outputs) / count, shares=shares)


class Stateless:
    """A trick that remembers nothing from step to step."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
