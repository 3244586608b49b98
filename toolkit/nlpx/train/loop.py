"""The training loop. There is one.

It yields a `StepInfo` after every update, and does nothing else: whoever consumes it logs, evaluates, saves
and stops. At every `yield` the run's state is complete, so `training.save(...)` there resumes bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nlpx.configuration.section import Section
from nlpx.data.batches.bucketing import BatchRows, BucketedBatches
from nlpx.optim.config import OptimConfig
from nlpx.optim.derived import DerivedOptimizer
from nlpx.optim.groups import build_optimizer
from nlpx.optim.schedule import build_schedule, warmup_steps
from nlpx.train import distributed
from nlpx.train.blocks import checkpoint_blocks, compile_blocks
from nlpx.train.collapse import CollapseDetector
from nlpx.train.config import Every, TrainConfig
from nlpx.train.early_stopping import EarlyStopping
from nlpx.train.heap import Heap
from nlpx.train.interrupt import InterruptGuard
from nlpx.train.memory import out_of_memory_named
from nlpx.train.precision import resolve_precision
from nlpx.train.sharding import shard_model
from nlpx.train.state import Training
from nlpx.train.step import (
    Batch,
    Gradients,
    Objective,
    Update,
    accumulated_gradients,
    accumulated_update,
    accumulating_backward,
    build_tricks,
    clipped_gradients,
    in_precision,
    plain_update,
    set_learning_rate,
    with_minor_weight,
    wrapped,
)
from nlpx.train.watch import LossWatch, Unchecked
from nlpx.tricks import check_joined

Collate = Callable[[list[int]], Batch]


@dataclass(frozen=True)
class StepInfo:
    """One update. Reading `loss` or `gradient_norm` waits for the accelerator: do it where you log."""

    step: int  # from 1
    total_steps: int
    epoch: int  # from 0
    ends_epoch: bool
    learning_rate: float
    num_tokens: int  # real ones, over all processes
    num_targets: int
    seconds: float  # of this process; an accelerator may still be at work
    warning: str | None
    loss_tensor: Tensor
    norm_tensor: Tensor
    share_tensors: Mapping[str, Tensor]

    @property
    def loss(self) -> float:
        """The mean over the targets of all processes, in nats."""
        return float(self.loss_tensor)

    @property
    def gradient_norm(self) -> float:
        """The gradient norm before clipping."""
        return float(self.norm_tensor)

    @property
    def shares(self) -> dict[str, float]:
        """What each trick has added to the loss, in nats."""
        return {name: float(share) for name, share in self.share_tensors.items()}

    @property
    def is_last(self) -> bool:
        """Whether the run ends here."""
        return self.step == self.total_steps

    def due(self, every: Every) -> bool:
        """Whether what happens every so many steps, or each "epoch", is to happen now; the end counts."""
        if every is None:
            return False
        return self.is_last or (self.ends_epoch if every == "epoch" else self.step % every == 0)


def build_batches(lengths: Sequence[int], *, config: TrainConfig, seed: int) -> BucketedBatches:
    """The batches of a run over rows of these lengths, those rows of each that this process takes."""
    limits = {key: getattr(config, key) for key in ("batch_tokens", "batch_size", "max_batch_size")}
    return BucketedBatches(lengths, seed=seed, rank=distributed.rank(), world_size=distributed.world_size(), **limits)


def count_steps(batches: BucketedBatches, *, config: TrainConfig, optim: OptimConfig | None = None) -> int:
    """The updates of a run from its beginning to its end, each of them one step."""
    batches_each = config.accumulation * (1 if optim is None else optim.gradients_per_update)
    return config.steps or batches.num_updates(config.epochs or 1, accumulation=batches_each)


def prepare(
    model: nn.Module,
    *,
    lengths: Sequence[int],
    config: TrainConfig,
    optim: OptimConfig,
    tricks: Mapping[str, Section] | None = None,
    seed: int = 0,
    label_entropy: float | None = None,
) -> Training:
    """A run at its beginning.

    `lengths`: tokens of each row; `tricks`: settings by name, innermost first; `label_entropy`: nats, turns
    the collapse detector on. The model is changed in place where it is to be compiled, checkpointed or sharded.
    """
    batches = build_batches(lengths, config=config, seed=seed)
    total_steps = count_steps(batches, config=config, optim=optim)
    collapse = None
    if label_entropy is not None and config.collapse_window is not None:
        warmup = warmup_steps(optim.schedule, total_steps=total_steps)
        collapse = CollapseDetector(label_entropy, warmup_steps=warmup, window=config.collapse_window)
    _arrange(model, config, tricks or {})
    return Training(
        model=model,
        optimizer=build_optimizer(model, optim),
        schedule=build_schedule(optim, total_steps=total_steps),
        batches=batches,
        total_steps=total_steps,
        tricks=build_tricks(tricks or {}),
        early_stopping=EarlyStopping(config.patience),
        watch=LossWatch(collapse),
    )


def train(
    training: Training,
    *,
    objective: Objective,
    collate: Collate,
    config: TrainConfig,
    guard: InterruptGuard | None = None,
) -> Iterator[StepInfo]:
    """Train from where `training` stands to its last step, one `StepInfo` an update.

    `collate` makes a batch on the CPU from row numbers. After an interrupt the step at hand is finished and
    the iteration ends with `training.interrupted` set. Raises `ResultError` when a loss or gradient is not
    finite.
    """
    parts = _parts(training, objective, config)
    heap = Heap()
    while training.step < training.total_steps:
        if distributed.any_rank(guard is not None and guard.requested):
            training.interrupted = True
            return
        yield _one_update(training, parts, collate, config)
        heap.tidy()


@dataclass(frozen=True)
class _Parts:
    """What stays the same from step to step."""

    device: torch.device
    replica: nn.Module
    gradients: Gradients
    update: Update
    batches_each: int  # in an update
    noise_pools: list[Any]


def _arrange(model: nn.Module, config: TrainConfig, tricks: Iterable[str]) -> None:
    """Compile inside, checkpoint around it, shard around both: each then works as it does alone."""
    check_joined(list(tricks), config)
    if config.compile:
        compile_blocks(model)
    if config.activation_checkpointing:
        checkpoint_blocks(model)
    if config.parallel == "fsdp":
        shard_model(model, tricks=list(tricks))


def _parts(training: Training, objective: Objective, config: TrainConfig) -> _Parts:
    model, tricks, optimizer = training.model, training.tricks, training.optimizer
    device = next(model.parameters()).device
    precision, _ = resolve_precision(config.precision, device=device)
    cast = in_precision(wrapped(objective, place="objective", tricks=tricks), precision, device=device)
    backward = wrapped(accumulating_backward(cast), place="backward", tricks=tricks)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = clipped_gradients(backward, parameters, max_norm=config.max_gradient_norm)
    update, batches_each = plain_update, config.accumulation
    if isinstance(optimizer, DerivedOptimizer) and optimizer.window > 1:
        gradients = accumulated_gradients(gradients, optimizer, batches_each=config.accumulation)
        update, batches_each = accumulated_update, config.accumulation * optimizer.window
    return _Parts(
        device=device,
        replica=distributed.replicate(model),
        gradients=gradients,
        update=wrapped(update, place="update", tricks=tricks),
        batches_each=batches_each,
        noise_pools=[module.noise_pool for module in model.modules() if hasattr(module, "noise_pool")],
    )


def _one_update(training: Training, parts: _Parts, collate: Collate, config: TrainConfig) -> StepInfo:
    started = time.perf_counter()
    taken = training.batches.take(parts.batches_each)
    training.step += 1
    step, epoch = training.step, training.batches.epoch
    training.model.train()  # the consumer may have evaluated
    for pool in parts.noise_pools:
        pool.at_step(step, training.batches.seed + training.batches.rank)

    with out_of_memory_named(config):
        batches = [_on_device(collate(part.rows), part, parts.device) for part in taken]
        losses, norm = parts.gradients(parts.replica, with_minor_weight(batches))

    rows = [row for part in taken for row in part.rows if part.counts]
    # On a CPU every step is checked, before a bad gradient reaches the weights.
    check = parts.device.type == "cpu" or step % config.log_every == 0 or step == training.total_steps
    training.watch.add(Unchecked(step, epoch, rows, losses.loss, norm), check=check)

    rate = training.schedule(step)
    set_learning_rate(training.optimizer, rate)
    parts.update(training.model, training.optimizer)
    return StepInfo(
        step=step,
        total_steps=training.total_steps,
        epoch=epoch,
        ends_epoch=training.batches.at_epoch_end,
        learning_rate=rate,
        num_tokens=sum(part.num_tokens for part in taken),
        num_targets=losses.num_targets,
        seconds=time.perf_counter() - started,
        warning=training.watch.take_warning(),
        loss_tensor=losses.loss,
        norm_tensor=norm,
        share_tensors=losses.shares,
    )


def _on_device(batch: Batch, part: BatchRows, device: torch.device) -> Batch:
    moved = {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for key, value in batch.items()
    }
    return moved if part.counts else moved | {"weightless": True}
