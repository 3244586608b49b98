"""Running out of memory: one sentence, with the smallest change that halves the need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nlpx.errors import MachineError
from nlpx.train.config import TrainConfig

# Torch's messages on a CPU, where it raises a plain RuntimeError.
CPU_MESSAGES = ("can't allocate memory", "not enough memory")


@contextmanager
def out_of_memory_named(config: TrainConfig) -> Iterator[None]:
    """Around a step: turns a failed allocation into a `MachineError` that names the key to change."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        plain = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
        if plain and not any(message in str(error) for message in CPU_MESSAGES):
            raise
        key = "batch_tokens" if config.batch_size is None else "batch_size"
        value = getattr(config, key)
        smaller = f"--set train.{key}={max(1, value // 2)} --set train.accumulation={2 * config.accumulation}"
        less = "" if config.activation_checkpointing else "\nor --set train.activation_checkpointing=true"
        raise MachineError(
            f"out of memory with `train.{key}={value}`", hint=f"take half at once and accumulate: {smaller}{less}"
        ) from error
