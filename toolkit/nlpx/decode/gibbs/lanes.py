"""Chains side by side in calls of one fixed shape, so that what a chain computes does not depend on the others.

The products of linear algebra libraries take another path, and round otherwise, for another number of rows. So a call
always has the same number of lanes, a chain keeps the lane of its number, and empty lanes hold a dummy: the arithmetic
of a lane is then a function of its own content and of shapes that are fixed. A single chain equals the same chain among
others bit for bit, at the price of computing the dummies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

CPU_LANES, ACCELERATOR_LANES = 16, 64  # measured: more lanes are hardly faster, fewer are slower
WIDTH_STEP = 8  # tokens


class Numbered(Protocol):
    """What can have a lane."""

    number: int
    width: int


Item = TypeVar("Item", bound=Numbered)


def num_lanes(device: torch.device) -> int:
    """Lanes of a call on this device."""
    return CPU_LANES if device.type == "cpu" else ACCELERATOR_LANES


def width_for(longest: int, *, exact: bool = False) -> int:
    """Tokens a row for texts of up to `longest` tokens.

    `exact` is for texts that all have this length and keep it. Else one more at least, so that every row has padding
    and none takes the shorter path of a batch without.
    """
    return longest if exact else (longest // WIDTH_STEP + 1) * WIDTH_STEP


def side_by_side(chains: Iterable[Item], lanes: int) -> list[dict[int, Item]]:
    """The chains by lane, in as few calls as their lanes and widths allow."""
    calls: dict[tuple[int, int], dict[int, Item]] = {}
    taken: dict[tuple[int, int], int] = {}
    for chain in chains:
        lane = chain.number % lanes
        earlier = taken.get((chain.width, lane), 0)
        taken[chain.width, lane] = earlier + 1
        calls.setdefault((chain.width, earlier), {})[lane] = chain
    return list(calls.values())


class Lanes:
    """Token ids (lanes, width) and mask of one call; rows are written in, the rest is a dummy of one token."""

    def __init__(self, lanes: int, width: int, *, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id
        self.token_ids = torch.full((lanes, width), pad_token_id)
        self.attention_mask = torch.zeros(lanes, width, dtype=torch.bool)
        self.attention_mask[:, 0] = True

    def write(self, lane: int, token_ids: Sequence[int] | Tensor) -> None:
        """Put a text into a lane in place of what was there."""
        length = len(token_ids)
        self.token_ids[lane, :length] = torch.as_tensor(token_ids)
        self.token_ids[lane, length:] = self.pad_token_id
        self.attention_mask[lane] = False
        self.attention_mask[lane, :length] = True
