"""One loss a file: what a batch's outputs should have been."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RowFacts:
    """What an objective over packed rows may want to know beside the rows: their limit, and marks as token ids."""

    max_length: int | None = None
    sentence_ends: frozenset[int] = frozenset()  # such as 。 and ?
    closing_marks: frozenset[int] = frozenset()  # what still belongs to a sentence after its end, such as ”


@dataclass(frozen=True)
class Loss:
    """What an objective returns: the mean over the batch's targets, and the outputs it was computed from."""

    loss: Tensor  # 0-d, float32, with its graph
    outputs: dict[str, Any] = field(default_factory=dict)
