"""Batch slots: chains in calls of one fixed shape, so that what a chain computes does not depend on the others.

The products of linear algebra libraries take another path, and round otherwise, for another number of rows. So a call
always has the same number of slots, a chain keeps the slot of its number, and empty slots hold a dummy: the arithmetic
of a slot is then a function of its own content and of shapes that are fixed. A single chain equals the same chain among
others bit for bit, at the price of computing the dummies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

CPU_SLOTS, ACCELERATOR_SLOTS = 16, 64  # measured: more slots are hardly faster, fewer are slower
WIDTH_STEP = 8  # tokens: lengths are rounded up to it, so that few shapes of calls occur


class Numbered(Protocol):
    """What can be put into a slot: its number decides which, its width the length of the row."""

    number: int
    width: int


Slotted = TypeVar("Slotted", bound=Numbered)


def num_slots(device: torch.device) -> int:
    """Batch slots of a call on this device."""
    return CPU_SLOTS if device.type == "cpu" else ACCELERATOR_SLOTS


def width_for(longest: int, *, exact: bool = False) -> int:
    """Tokens a row for texts of up to `longest` tokens.

    `exact` is for texts that all have this length and keep it. Else one more at least, so that every row has padding
    and none takes the shorter path of a batch without.
    """
    return longest if exact else (longest // WIDTH_STEP + 1) * WIDTH_STEP


def side_by_side(chains: Iterable[Slotted], slots: int) -> list[dict[int, Slotted]]:
    """The chains by slot, in as few calls as their slots and widths allow."""
    calls: dict[tuple[int, int], dict[int, Slotted]] = {}
    taken: dict[tuple[int, int], int] = {}
    for chain in chains:
        slot = chain.number % slots
        earlier = taken.get((chain.width, slot), 0)
        taken[chain.width, slot] = earlier + 1
        calls.setdefault((chain.width, earlier), {})[slot] = chain
    return list(calls.values())


class BatchSlots:
    """Token ids (slots, width) and mask of one call; rows are written in, the rest is a dummy of one token."""

    def __init__(self, slots: int, width: int, *, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id
        self.token_ids = torch.full((slots, width), pad_token_id)
        self.attention_mask = torch.zeros(slots, width, dtype=torch.bool)
        self.attention_mask[:, 0] = True

    def write(self, slot: int, token_ids: Sequence[int] | Tensor) -> None:
        """Put a text into a slot in place of what was there."""
        length = len(token_ids)
        self.token_ids[slot, :length] = torch.as_tensor(token_ids)
        self.token_ids[slot, length:] = self.pad_token_id
        self.attention_mask[slot] = False
        self.attention_mask[slot, :length] = True
