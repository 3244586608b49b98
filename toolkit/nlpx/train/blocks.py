"""The blocks of a model: what is checkpointed, compiled and sharded one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from nlpx.errors import UsageError


def blocks(model: nn.Module) -> list[nn.Module]:
    """The repeated parts of a model, which are the members of its longest list of modules; none without a list.

    A model made of several models names them in `members`, and has the blocks of each.
    """
    return [block for member in getattr(model, "members", (model,)) for block in _longest_list(member)]


def checkpoint_blocks(model: nn.Module) -> None:
    """Activation checkpointing: each block computes its activations again in the backward pass, with the same dropout.

    Random states are restored for the second computation. The noise pool draws its offsets from torch's generator, so
    its masks come back as well. Raises `UsageError` for a model without blocks.
    """
    found = blocks(model)
    if not found:
        raise UsageError("`train.activation_checkpointing` needs a model made of blocks, and this one has none")
    for block in found:
        block.forward = _checkpointed(block.forward)


def compile_blocks(model: nn.Module) -> None:
    """Compile each block's computation by itself, or all of a model without blocks.

    Equal blocks share the compiled code, which takes a fraction of the time of compiling the model in one piece; and
    the hooks around a block stay in Python.
    """
    found = blocks(model)
    if not found:
        model.compile(dynamic=True)
    for block in found:
        block.forward = torch.compile(block.forward, dynamic=True)


def _longest_list(model: nn.Module) -> nn.ModuleList:
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=nn.ModuleList())


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    # The attribute of the block is replaced, not the block: names of parameters and hooks stay what they are.
    def call(*arguments: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments, **named)
        return checkpoint(forward, *arguments, use_reentrant=False, **named)

    return call
