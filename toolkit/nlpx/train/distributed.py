"""Several processes as one: `torchrun` starts them, each takes a part of every batch, gradients are averaged.

Without `torchrun` there is one process and every function here does the obvious thing, so that callers
need not distinguish. Small facts travel as CPU tensors over gloo also beside nccl, which spares the accelerator a
synchronisation.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, ClassVar
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

# Torch 2.13 renamed the option that broadcasts buffers before every forward pass.
BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel.__init__).parameters
)

# The first process evaluates while the others wait for it.
PATIENCE = timedelta(hours=4)


class Replica(DistributedDataParallel):
    """DDP around a whole objective, which shows the attributes of the model inside.

    DDP expects a gradient for every parameter that its output depends on. An objective does not use every output of
    the model, such as those of a pooler, so what DDP has to see as the output is the loss.
    """

    alive: ClassVar[WeakSet[Replica]] = WeakSet()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            inside: Any = super().__getattr__("module")
            return getattr(inside.model, name)


class _Computation(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, objective: Callable[[nn.Module, Any], Any], batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        found = objective(self.model, batch)
        return found.loss, found.shares


@contextmanager
def process_group(*, device: str = "cpu") -> Iterator[None]:
    """Join the group that `torchrun` describes in the environment, and leave it; without one do neither."""
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(local_rank())
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield
    finally:
        _drop_group_references()
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """This process's number on its machine, which is also its accelerator's."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that evaluates, logs and writes."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    total(0)


def total(count: int) -> int:
    """The sum of a count over all processes."""
    if world_size() == 1:
        return count
    counts = torch.tensor(count, dtype=torch.int64)
    dist.all_reduce(counts)
    return int(counts)


def any_rank(flag: bool) -> bool:
    """Whether the flag is set in at least one process."""
    return total(int(flag)) > 0


def add_up(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, on its own device."""
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def gather(value: Any) -> list[Any]:
    """The values of all processes, in rank order; they are sent as JSON, because nothing is ever unpickled."""
    if world_size() == 1:
        return [value]
    encoded = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(encoded)]))
    width = max(int(size) for size in sizes)
    padded = [torch.zeros(width, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(padded, nn.functional.pad(encoded, (0, width - len(encoded))))
    return [json.loads(bytes(row[: int(size)].tolist())) for row, size in zip(padded, sizes, strict=True)]


def from_main(value: Any) -> Any:
    """The value of the first process, in every process: a decision to stop, a score, a path."""
    return gather(value)[0]


def is_sharded(model: nn.Module) -> bool:
    """Whether this process holds only its shard of the model (`nlpx.train.sharding`)."""
    return hasattr(model, "set_requires_gradient_sync")  # of FSDP, whose import would cost half a second


def whole_tensor(tensor: Tensor) -> Tensor:
    """The tensor itself, or all rows of a sharded one; every process must call this."""
    return tensor.full_tensor() if is_shard(tensor) else tensor  # type: ignore[attr-defined]


def is_shard(tensor: Tensor | None) -> bool:
    """Whether a tensor is this process's shard of a bigger one: a DTensor, whose import would cost half a second."""
    return hasattr(tensor, "full_tensor")


def replicate(model: nn.Module) -> nn.Module:
    """The model to compute losses with: a replica that starts from the first process's weights.

    It is the model itself where there is one process, and where each holds a shard (`nlpx.train.sharding`).
    """
    if world_size() == 1 or is_sharded(model):
        return model
    device = next(model.parameters()).device
    constant_buffers: dict[str, Any] = {BUFFERS: False}
    replica = Replica(
        _Computation(model),
        device_ids=[device.index] if device.type == "cuda" else None,
        find_unused_parameters=True,  # a task may leave a part of its model alone
        gradient_as_bucket_view=True,
        **constant_buffers,
    )
    Replica.alive.add(replica)
    return replica


def loss_of(
    model: nn.Module, objective: Callable[[nn.Module, Any], Any], batch: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of an objective on the model that `replicate` gave, and what each trick has added to it."""
    if isinstance(model, Replica):
        found: tuple[Tensor, dict[str, Tensor]] = model(objective, batch)
        return found
    output = objective(model, batch)
    return output.loss, output.shares


def averaging_gradients(model: nn.Module, *, shared: bool) -> AbstractContextManager[Any]:
    """Around one forward and backward pass: average the gradients at its end, or accumulate them in this process.

    A sharded model averages them each time: to wait, every process would have to hold all of them.
    """
    if shared or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


def _drop_group_references() -> None:
    # A replica that outlives its group keeps the group's threads, and the process then dies by SIGABRT on its way out:
    # torch leaves it in a reference cycle, and the frames of an exception may hold it.
    for replica in list(Replica.alive):
        for attribute in ("reducer", "logger", "process_group"):
            replica.__dict__.pop(attribute, None)
    gc.collect()
