"""The random start of weights: one function, so that every model starts alike."""

from __future__ import annotations

from torch import Tensor, nn

BOUND = 2  # standard deviations, where BERT's truncated normal ends


def truncated_normal_(tensor: Tensor, *, std: float) -> Tensor:
    """Fill in place with a normal distribution of `std` that ends at two standard deviations; returns the tensor.

    torch's bounds are absolute values, not standard deviations.
    """
    return nn.init.trunc_normal_(tensor, std=std, a=-BOUND * std, b=BOUND * std)
