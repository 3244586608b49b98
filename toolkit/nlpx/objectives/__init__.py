"""Objectives over packed rows, one a file: batches of them, and the loss of a batch.

An objective's file has `class Config(Section)` with `weight`, and `class Objective` with

    HEADS       heads the model needs
    OUTPUTS     what its result can hold beside the loss, such as `logits`, for tricks that need it
    ACCURACY    what `num_correct` counts, in words
    batch, __call__, num_correct

What a call gives is an `ObjectiveOutput`, which is also what tasks and the functions in tests give to the loop.
"""

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
class ObjectiveOutput:
    """The mean loss over the batch's targets, and the outputs of the model it was computed from."""

    loss: Tensor  # 0-d, float32, with its graph
    outputs: dict[str, Any] = field(default_factory=dict)
    shares: dict[str, Tensor] = field(default_factory=dict)  # what each trick has added to the loss, 0-d, by name
