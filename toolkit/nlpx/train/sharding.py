"""FSDP2: each process keeps a shard of the rows of every parameter, gradient and moment.

Blocks are gathered one by one where they are needed. Parameters keep their names and the model its class, so the loop,
the optimizer, the clipping and the average of the weights do not know of it. What needs the whole model, such as
evaluating in the first process and publishing, happens inside `whole`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from nlpx.errors import UsageError
from nlpx.train import distributed
from nlpx.train.blocks import blocks

# Each is tested with shards; another is refused until it is.
KNOWN_TRICKS = frozenset({"ema"})

# The hooks that FSDP registers on the modules it shards, and on every module with parameters.
UNIT_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks")
MODULE_HOOKS = ("_load_state_dict_post_hooks",)


def shard_model(model: nn.Module, *, tricks: Sequence[str] = ()) -> None:
    """Shard the parameters, from the first process's values; with one process nothing happens.

    Raises `UsageError` for a trick that is not known to work with shards.
    """
    unknown = [name for name in tricks if name not in KNOWN_TRICKS]
    if unknown:
        hint = f"leave out the trick, or set train.parallel=ddp; known to work: {', '.join(sorted(KNOWN_TRICKS))}"
        raise UsageError(f"the trick `{unknown[0]}` and `train.parallel: fsdp` cannot be joined", hint=hint)
    if distributed.world_size() == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), 0)
    mesh = init_device_mesh(next(model.parameters()).device.type, (distributed.world_size(),))
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


@contextmanager
def whole(model: nn.Module, *, everywhere: bool = False) -> Iterator[None]:
    """Within it the first process (or each) has the model as an ordinary one; all processes must enter.

    Parameters are gathered one by one. With `everywhere`, what was written into them goes back into the shards.
    """
    if not distributed.is_sharded(model):
        yield
        return
    units: list[Any] = [module for module in model.modules() if distributed.is_sharded(module)]
    for unit in units:
        unit.reshard()  # a forward pass without a backward one leaves some gathered
    kept = everywhere or distributed.is_main()
    shards = {id(parameter): parameter for parameter in model.parameters()}
    gathered = {key: _gathered(parameter, kept=kept) for key, parameter in shards.items()}
    hooks: list[tuple[nn.Module, dict[str, Any]]] = []
    if kept:
        _replace(model, gathered)
        hooks = [(module, _without_hooks(module)) for module in model.modules()]
    try:
        yield
        if everywhere:
            _write_back(shards, gathered)
    finally:
        if kept:
            _replace(model, {id(gathered[key]): shard for key, shard in shards.items()})
        for module, found in hooks:
            module.__dict__.update(found)


def shard_bounds(whole_size: int) -> tuple[int, int]:
    """The first row of this process's shard of a tensor with `whole_size` rows, and the one after its last."""
    each = -(-whole_size // distributed.world_size())
    start = min(whole_size, each * distributed.rank())
    return start, min(whole_size, start + each)


def own_rows(shard: Tensor) -> Tensor:
    """The rows of a sharded tensor that lie in this process."""
    rows: Tensor = shard.to_local()  # type: ignore[attr-defined]  # a DTensor, which not every build of torch has
    return rows


def as_shard(rows: Tensor, like: Any) -> Tensor:
    """This process's rows as a tensor that is sharded as `like` is."""
    from torch.distributed.tensor import DTensor

    place = {"device_mesh": like.device_mesh, "placements": like.placements}
    return DTensor.from_local(rows.to(like.device), **place, run_check=False, shape=like.shape, stride=like.stride())


def _gathered(parameter: nn.Parameter, *, kept: bool) -> nn.Parameter | None:
    full = distributed.whole_tensor(parameter.detach())
    if full.untyped_storage().nbytes() > full.nbytes:  # gathered from uneven shards: safetensors refuses the rest
        full = full.clone()
    return nn.Parameter(full, requires_grad=parameter.requires_grad) if kept else None


def _replace(model: nn.Module, others: dict[int, Any]) -> None:
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if id(parameter) in others:
                module._parameters[name] = others[id(parameter)]


def _without_hooks(module: nn.Module) -> dict[str, Any]:
    names = MODULE_HOOKS + (UNIT_HOOKS if distributed.is_sharded(module) else ())
    found = {name: module.__dict__[name] for name in names}
    module.__dict__.update({name: OrderedDict() for name in names})
    return found


@torch.no_grad()
def _write_back(shards: dict[int, nn.Parameter], gathered: dict[int, nn.Parameter | None]) -> None:
    for key, shard in shards.items():
        full = gathered[key]
        if full is not None:
            start, stop = shard_bounds(len(full))
            own_rows(shard).copy_(full[start:stop])
