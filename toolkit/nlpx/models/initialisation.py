"""The random start of weights: one function, so that every model starts alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function_unary

BOUND = 2  # standard deviations, where BERT's truncated normal ends


def initialise(model: nn.Module, *, std: float, names: Collection[str] | None = None) -> None:
    """Truncated normal weights, zero biases, unit norms, and what modules start at zero. Those of `names`, or all."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if names is not None and name not in names:
                continue
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                truncated_normal_(parameter, std=std)
        for path, module in model.named_modules():
            for name in getattr(module, "STARTS_AT_ZERO", ()):
                if names is None or f"{path}.{name}" in names:
                    module.get_parameter(name).zero_()


def truncated_normal_(tensor: Tensor, *, std: float) -> Tensor:
    """Fill in place with a normal distribution of `std` that ends at two standard deviations; returns the tensor.

    torch's bounds are absolute values, not standard deviations.
    """
    if has_torch_function_unary(tensor):  # as torch's own do: else `Undrawn` would see the steps, one by one
        drawn: Tensor = handle_torch_function(truncated_normal_, (tensor,), tensor, std=std)
        return drawn
    return nn.init.trunc_normal_(tensor, std=std, a=-BOUND * std, b=BOUND * std)


class Undrawn(TorchFunctionMode):
    """A context in which modules are built without values for their parameters, for whoever assigns all of them.

    To draw and touch the weights of a published model takes many times as long as to map its file. Buffers are
    computed as ever.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")  # the functions of torch.nn.init name it
        writes_in_place = func.__name__.endswith("_") and not func.__name__.endswith("__")
        return target if writes_in_place and isinstance(target, nn.Parameter) else func(*args, **kwargs)
