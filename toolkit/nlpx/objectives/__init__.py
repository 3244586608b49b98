"""One loss a file: what a batch's outputs should have been."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """What an objective returns: the mean over the batch's targets, and the outputs it was computed from."""

    loss: Tensor  # 0-d, float32, with its graph
    outputs: dict[str, Any] = field(default_factory=dict)
