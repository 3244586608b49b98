"""How far two predictions of the same rows are apart, for tricks that pull them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from nlpx.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Divergence = Literal["kl", "bernoulli", "mse"]


def check_logits(logits: Tensor, batch: dict[str, Any], divergence: Divergence, *, trick: str) -> None:
    """Raise `UsageError` for outputs that this divergence does not compare."""
    if divergence == "mse":
        return
    if logits.dim() != 2 or (divergence == "kl" and logits.shape[-1] < 2):
        raise UsageError(
            f"the trick `{trick}` compares distributions over classes, and the logits are {tuple(logits.shape)}",
            hint=f"for numbers: --set tricks.{trick}.divergence=mse",
        )
    labels = batch.get("labels")
    if divergence == "kl" and labels is not None and labels.dim() == 2:
        raise UsageError(
            f"the trick `{trick}` compares distributions over classes, and the rows have several labels",
            hint=f"--set tricks.{trick}.divergence=bernoulli compares the probability of each label",
        )


def each_way(target: Tensor, logits: Tensor, divergence: Divergence) -> Tensor:
    """Mean over the rows of D(target || prediction), of outputs (N, C), or any shape of `mse` -> 0-d float32.

    In nats: `kl` of the two softmaxes, `bernoulli` the sum over the labels of that of two coins. `mse` is the squared
    difference, summed over what a row holds. 0 without rows.
    """
    from torch.nn import functional

    target, logits = target.float(), logits.float()
    if divergence == "mse":
        each = (target - logits).square()
    elif divergence == "kl":
        ours, theirs = logits.log_softmax(-1), target.log_softmax(-1)  # (N, C)
        each = theirs.exp() * (theirs - ours)
    else:
        plus, minus = functional.logsigmoid(target), functional.logsigmoid(-target)  # (N, C)
        ours, opposite = functional.logsigmoid(logits), functional.logsigmoid(-logits)  # (N, C)
        each = plus.exp() * (plus - ours) + minus.exp() * (minus - opposite)
    return each.sum() / max(len(each), 1)


def both_ways(first: Tensor, second: Tensor, divergence: Divergence) -> Tensor:
    """Mean over the rows of D(P || Q) + D(Q || P), as `each_way` takes them; 0 exactly where both are equal."""
    first, second = first.float(), second.float()
    if divergence == "mse":
        return 2 * each_way(first, second, "mse")
    if divergence == "kl":
        one, other = first.log_softmax(-1), second.log_softmax(-1)  # (N, C)
        each = (one.exp() - other.exp()) * (one - other)
    else:
        each = (first.sigmoid() - second.sigmoid()) * (first - second)
    return each.sum() / max(len(each), 1)
