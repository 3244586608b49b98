"""How long a run will take, from a few updates of its own that are timed and thrown away. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import ResultError

if TYPE_CHECKING:
    from nlpx.train.config import TrainConfig
    from nlpx.train.loop import Collate
    from nlpx.train.state import Training
    from nlpx.train.step import Objective

ENOUGH = 3.0  # seconds of timed updates
MOST = 10  # updates
BYTES_PER_PARAMETER = 16  # weights, gradients and two moments in float32


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A run at its beginning, and what it evaluates on: tokens of one evaluation, and of what is answered at the end.

    `done`: updates that an earlier part of the run has made.
    """

    training: Training
    objective: Objective
    collate: Collate
    evaluation_tokens: int
    final_tokens: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds a token, of training and of a forward pass alone, and how many updates were timed for them."""

    training: float
    forward: float
    num_updates: int
    seconds: float  # that they took
    with_first: bool  # which is slower than the others


def time_facts(rehearsal: Rehearsal, config: TrainConfig, *, device: str) -> dict[str, Any]:
    """The estimated `seconds` of a run and, in words, what they are based on. The weights are changed by it."""
    try:
        rates = measure(rehearsal, config)
    except ResultError as error:  # a gradient that is not finite says nothing about time: the run itself will end so
        return not_measured(error.message)
    return _facts(rehearsal, config, rates, device)


def not_measured(reason: str) -> dict[str, Any]:
    """The same facts where nothing was timed."""
    return {"seconds": None, "time": f"not estimated: {reason}"}


def obstacle(num_parameters: int, config: TrainConfig, *, device: str) -> str | None:
    """Why a few updates cannot be timed without harm; None if they can."""
    if config.parallel == "fsdp":
        return "shards of a model need several processes"
    if config.compile:
        return "compiling would take longer than the updates"
    available = _available_bytes() if device == "cpu" else None
    needed = num_parameters * BYTES_PER_PARAMETER
    if available is not None and needed > available:
        return f"weights, gradients and moments take {needed >> 20:,} MiB, and {available >> 20:,} are free"
    return None


def measure(rehearsal: Rehearsal, config: TrainConfig) -> Rates:
    """Time updates near the end of the run, where curricula show whole rows, and one forward pass."""
    from nlpx.train.loop import train

    training = rehearsal.training
    training.step = max(0, training.total_steps - MOST - 1)
    times: list[tuple[float, int]] = []
    started = time.perf_counter()
    for info in train(training, objective=rehearsal.objective, collate=rehearsal.collate, config=config):
        float(info.loss_tensor)  # an accelerator is waited for
        now = time.perf_counter()
        times.append((now - started, info.num_tokens))
        started = now
        if sum(seconds for seconds, _ in times) > ENOUGH:
            break
    timed = times[1:] or times
    seconds, tokens = (sum(column) for column in zip(*timed, strict=True))
    return Rates(seconds / tokens, _forward(rehearsal, config), len(timed), seconds, with_first=len(times) == 1)


def _forward(rehearsal: Rehearsal, config: TrainConfig) -> float:
    import torch

    from nlpx.train.precision import resolve_precision
    from nlpx.train.step import in_precision

    training = rehearsal.training
    device = next(training.model.parameters()).device
    precision, _ = resolve_precision(config.precision, device=device)
    objective = in_precision(rehearsal.objective, precision, device=device)
    (part,) = training.batches.take(1)
    batch = rehearsal.collate(part.rows)
    batch = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    training.model.eval()
    started = time.perf_counter()
    with torch.inference_mode():
        float(objective(training.model, batch).loss)
    return (time.perf_counter() - started) / part.num_tokens


def _facts(rehearsal: Rehearsal, config: TrainConfig, rates: Rates, device: str) -> dict[str, Any]:
    training = rehearsal.training
    left = max(0, training.total_steps - rehearsal.done)
    updates_each = training.batches.num_updates(1, accumulation=_batches_each(config, training))
    evaluations = num_evaluations(left, updates_each, config)
    updating = left * rates.training * int(training.batches.lengths.sum()) / updates_each
    evaluating = rates.forward * (evaluations * rehearsal.evaluation_tokens + rehearsal.final_tokens)
    first = " (the first, which is slower than others)" if rates.with_first else ""
    basis = (
        f"timed: {_counted(rates.num_updates, 'update')} of {rates.seconds / rates.num_updates:.2g} s{first} and a "
        f"forward pass, one process on {device}; loading and saving come on top"
    )
    shown = f"training {_shown(updating)}, {_counted(evaluations, 'evaluation')} {_shown(evaluating)}"
    total = updating + evaluating
    return {"seconds": round(total, 1), "time": f"about {_shown(total)} ({shown}; {basis})"}


def num_evaluations(num_updates: int, updates_each: int, config: TrainConfig) -> int:
    """How often a run of so many updates evaluates, `updates_each` of them in an epoch; the end counts."""
    if config.eval_every is None:
        return 1
    every = updates_each if config.eval_every == "epoch" else config.eval_every
    return -(-num_updates // every)


def _batches_each(config: TrainConfig, training: Training) -> int:
    return config.accumulation * int(getattr(training.optimizer, "window", 1))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shown(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _available_bytes() -> int | None:
    """What this system says is free for new programs; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) << 10 if found else None


def tokens_of(lengths: Sequence[int], limit: int | None = None) -> int:
    """Tokens of so many rows of these lengths, spread evenly over them."""
    total, count = int(sum(lengths)), len(lengths)
    return total if limit is None or count <= limit else total * limit // count
