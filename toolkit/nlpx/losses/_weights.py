"""How much each class counts in a loss, and what share of the training rows it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nlpx.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

ClassWeights = Literal["none", "balanced"] | tuple[float, ...]
DESCRIPTION = "`balanced`: by the inverse of its frequency in training, 1 on average over the rows; or one number each"


def class_weights(chosen: ClassWeights, facts: LossFacts | None) -> list[float] | None:
    """A weight a class, in the order of the logits; None where all count alike.

    Raises `UsageError` where the counts are not known, or the numbers are not one a class.
    """
    if chosen == "none":
        return None
    counts = _counts(facts)
    if chosen == "balanced":
        return [sum(counts) / (len(counts) * max(count, 1)) for count in counts]
    if len(chosen) != len(counts):
        raise UsageError(f"loss_options.class_weights has {len(chosen)} numbers for {len(counts)} classes")
    return [float(weight) for weight in chosen]


def priors(facts: LossFacts | None, *, floor: float = 1e-8) -> list[float]:
    """The fraction of the training rows that each class has, at least `floor`. Raises `UsageError` if unknown."""
    counts = _counts(facts)
    return [max(count / max(sum(counts), 1), floor) for count in counts]


def mean_over_rows(each: Tensor, labels: Tensor, weights: list[float] | None) -> Tensor:
    """The mean over all rows of losses (B,), each times the weight of its class -> 0-d."""
    if weights is not None:
        each = each * each.new_tensor(weights)[labels]
    return each.mean()


def _counts(facts: LossFacts | None) -> list[int]:
    if facts is None or not facts.label_counts:
        raise UsageError("this loss needs the number of training rows of each class, which the task does not count")
    return list(facts.label_counts)
