"""Which positions a chain visits next: sweeps in an order drawn anew, so that each position comes once a sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Scan:
    """The order in which the free positions of one chain are visited, `block` of them a step.

    The positions of one step are as far apart as the text allows: of m positions in r steps a sweep, every r-th.
    """

    def __init__(self, free: Sequence[int], random: np.random.Generator, *, block: int = 1) -> None:
        self.free, self.random = list(free), random
        self.num_steps = -(-len(self.free) // block)  # of one sweep
        self._left: list[int] = []

    def next(self) -> list[int]:
        """The positions of the next step, 1 to `block` of them."""
        if not self._left:
            self._left = self.random.permutation(self.num_steps).tolist()
        return self.free[self._left.pop() :: self.num_steps]
