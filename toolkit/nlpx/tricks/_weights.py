"""The matrices of a model, and how to put others in their place for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

REPLICA = "module.model."  # what a name begins with in the replica of a model, in one of several processes


def matrices(model: Any, exclude: Sequence[str] = ()) -> dict[str, Tensor]:
    """The trained weights with two or more axes by name, but those whose name matches a pattern of `exclude`."""
    named = ((name.removeprefix(REPLICA), weight) for name, weight in model.named_parameters())
    return {
        name: weight
        for name, weight in named
        if weight.requires_grad and weight.ndim > 1 and not any(fnmatchcase(name, pattern) for pattern in exclude)
    }


@contextmanager
def swapped(weights: Sequence[Tensor], others: Sequence[Tensor]) -> Iterator[None]:
    """Within it the weights have other values; then their own, bit for bit."""
    with torch.no_grad():
        own = [weight.clone() for weight in weights]
        _copy(weights, others)
    try:
        yield
    finally:
        with torch.no_grad():
            _copy(weights, own)


def _copy(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)
