"""One training step in three parts, each of which a trick may wrap.

    objective(model, batch) -> ObjectiveOutput    the task's
    backward(model, batches) -> StepLoss          leaves gradients behind
    update(model, optimizer)                      consumes them

A batch is a `dict[str, Tensor | int]` whose `num_targets` says, before the forward pass, over how many
terms its loss is the mean. Several batches make one update: each weighs its fraction of all targets, over all
processes too, so the gradient is that of one big batch. A loss that is the sum of two means over different
numbers of terms says the other number in `num_minor_targets`; see `with_minor_weight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nlpx.configuration import registry
from nlpx.configuration.section import Section
from nlpx.errors import UsageError
from nlpx.objectives import ObjectiveOutput
from nlpx.optim.derived import DerivedOptimizer
from nlpx.train import distributed
from nlpx.train.precision import autocast
from nlpx.train.sharding import whole
from nlpx.tricks import conflict

Batch = dict[str, Any]
Part = TypeVar("Part", bound=Callable[..., Any])


@dataclass(frozen=True)
class StepLoss:
    """The mean loss over every target of an update, all processes included, and their number."""

    loss: Tensor  # 0-d, on the model's device, without a graph
    num_targets: int
    shares: dict[str, Tensor] = field(default_factory=dict)  # what each trick has added to the loss, 0-d


Objective = Callable[[Any, Batch], ObjectiveOutput]  # of an `Encoder`, or of any module in its place
Backward = Callable[[nn.Module, list[Batch]], StepLoss]
Gradients = Callable[[nn.Module, list[Batch]], tuple[StepLoss, Tensor]]  # and the gradient norm before clipping
Update = Callable[[nn.Module, Optimizer], None]


class Trick(Protocol):
    """What `nlpx/tricks/<name>.py` calls `Trick`."""

    def wrap(self, inner: Any) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class NamedTrick:
    """A trick, its file's name, and the part of the step it wraps."""

    name: str
    wraps: str
    trick: Trick


def build_tricks(settings: Mapping[str, Section]) -> list[NamedTrick]:
    """The configured tricks, innermost first; two that cannot be joined are a `UsageError`."""
    problem = conflict(list(settings))
    if problem is not None:
        raise UsageError(problem)
    modules = {name: registry.load("tricks", name) for name in settings}
    return [NamedTrick(name, modules[name].WRAPS, modules[name].Trick(config)) for name, config in settings.items()]


def wrapped(part: Part, *, place: str, tricks: Sequence[NamedTrick]) -> Part:
    """One part of the step inside the tricks for its place."""
    for named in tricks:
        if named.wraps == place:
            part = named.trick.wrap(part)
    return part


@contextmanager
def evaluation_weights(model: nn.Module, tricks: Iterable[NamedTrick]) -> Iterator[None]:
    """Within it, `model` holds the weights to evaluate and publish; then the trained ones, bit for bit.

    Every process must enter. A sharded model is whole in the first process, and only there.
    """
    with ExitStack() as stack:
        for named in tricks:
            if hasattr(named.trick, "evaluation_weights"):
                stack.enter_context(named.trick.evaluation_weights(model))
        stack.enter_context(whole(model))
        yield


def in_precision(objective: Objective, precision: str, *, device: torch.device) -> Objective:
    """The objective with its matrix products in that precision."""

    def cast(model: nn.Module, batch: Batch) -> ObjectiveOutput:
        with autocast(precision, device=device):
            return objective(model, batch)

    return cast


def with_minor_weight(batches: list[Batch]) -> list[Batch]:
    """The batches of an update; those with `num_minor_targets` also have `minor_weight`, what one of these counts.

    It is how many targets there are for each of them in the whole update, over all processes. With it (sum over
    targets + minor_weight * sum over the minor ones) / num_targets, weighed by targets as every loss is, adds up to
    mean + minor mean of one big batch.
    """
    if "num_minor_targets" not in batches[0]:  # all batches of an update are made for the same objective
        return batches
    num_targets = distributed.total(sum(_counted(batch) for batch in batches))
    num_minor = distributed.total(sum(_counted(batch, "num_minor_targets") for batch in batches))
    return [batch | {"minor_weight": num_targets / max(num_minor, 1)} for batch in batches]


def accumulating_backward(objective: Objective) -> Backward:
    """A backward pass whose gradient equals that of all its batches in one, over all processes."""

    def backward(model: nn.Module, batches: list[Batch]) -> StepLoss:
        num_targets = distributed.total(sum(_counted(batch) for batch in batches))
        mean = torch.zeros(())
        shares: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
            fraction = _counted(batch) / max(num_targets, 1)
            with distributed.averaging_gradients(model, shared=index == len(batches) - 1):
                loss, of_batch = distributed.loss_of(model, objective, batch)
                # Replicas are averaged, not summed, hence the factor.
                (loss * (fraction * distributed.world_size())).backward()
            mean = mean.to(loss.device) + loss.detach() * fraction
            for name, share in of_batch.items():
                shares[name] = shares.get(name, 0.0) + share.to(loss.device) * fraction
        added = {name: distributed.add_up(share) for name, share in shares.items()}
        return StepLoss(distributed.add_up(mean), num_targets, added)

    return backward


def clipped_gradients(backward: Backward, parameters: Sequence[Tensor], *, max_norm: float | None) -> Gradients:
    """The backward pass of an update, its gradient clipped to the norm `max_norm`."""

    def gradients(model: nn.Module, batches: list[Batch]) -> tuple[StepLoss, Tensor]:
        return backward(model, batches), clip_gradients(parameters, max_norm=max_norm)

    return gradients


def accumulated_gradients(gradients: Gradients, optimizer: DerivedOptimizer, *, batches_each: int) -> Gradients:
    """The same in several passes of `batches_each` batches, each accumulated in the optimizer's moments and freed.

    Each pass weighs its fraction of all targets of the update. The norm is the largest of the passes.
    """

    def accumulated(model: nn.Module, batches: list[Batch]) -> tuple[StepLoss, Tensor]:
        parts = [batches[start : start + batches_each] for start in range(0, len(batches), batches_each)]
        num_targets = distributed.total(sum(_counted(batch) for batch in batches))
        found = []
        shares: dict[str, Tensor] = {}
        for part in parts:
            loss, norm = gradients(model, part)
            fraction = loss.num_targets / max(num_targets, 1)
            optimizer.accumulate(fraction)
            optimizer.zero_grad(set_to_none=True)
            found.append((loss.loss * fraction, norm))
            for name, share in loss.shares.items():
                shares[name] = shares.get(name, 0.0) + share * fraction
        losses, norms = (torch.stack(values) for values in zip(*found, strict=True))
        return StepLoss(losses.sum(), num_targets, shares), norms.max()

    return accumulated


def plain_update(_model: nn.Module, optimizer: Optimizer) -> None:
    """Let the optimizer consume the gradients."""
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def accumulated_update(_model: nn.Module, optimizer: Optimizer) -> None:
    """Let a derived optimizer move by the gradients it has accumulated."""
    cast(DerivedOptimizer, optimizer).move()


def clip_gradients(parameters: Sequence[Tensor], *, max_norm: float | None) -> Tensor:
    """Clip the gradient to `max_norm`, if that is given; returns its norm over all processes before clipping."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = distributed.whole_tensor(nn.utils.get_total_norm(gradients))
    # Reading the norm is free on a CPU and can save a pass over all gradients; elsewhere it would force a
    # synchronisation with the device.
    if max_norm is not None and (norm.device.type != "cpu" or norm > max_norm):
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group the scheduled rate times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("learning_rate_scale", 1.0)


def _counted(batch: Batch, key: str = "num_targets") -> int:
    return 0 if batch.get("weightless") else int(batch[key])
