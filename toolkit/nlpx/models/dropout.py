"""Dropout whose masks come from a pool of noise drawn in advance.

On a CPU, drawing a fresh mask costs more than the layers around it. Here a large mask is drawn once in a while and each
call reads a stretch of it at a random offset. A stretch keeps the exact keep rate in expectation, and two calls share a
mask only if they draw the same offset. On other devices torch's fused dropout is faster and is used as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_SMALLEST_POOL = 1 << 20  # numbers, 4 MB in float32; also the block that one seed draws


class NoisePool:
    """Masks with the values 0 and 1 / (1 - rate), redrawn every `refresh_every` steps from (seed, step)."""

    def __init__(self, refresh_every: int = 50) -> None:
        self.refresh_every = refresh_every
        self._round = (0, 0)
        self._pools: dict[tuple[float, torch.dtype], Tensor] = {}

    def at_step(self, step: int, seed: int) -> None:
        """Set the step and the seed of the run; a resumed run thereby sees the masks of an unbroken one."""
        current = (seed, step // self.refresh_every)
        if current != self._round:
            self._round = current
            # New tensors, never refilled ones: a graph that still waits for its backward keeps what it read.
            self._pools = {}

    def mask(self, shape: torch.Size, rate: float, dtype: torch.dtype) -> Tensor:
        """A mask of that shape from a random offset (drawn from torch's generator) of the pool."""
        needed = shape.numel()
        # The room for offsets depends on the request alone, so a pool that grew earlier gives the same draw.
        room = 2 * max(_SMALLEST_POOL, 1 << (needed - 1).bit_length())
        offset = int(torch.randint(room - needed, (1,)))
        return self._pool(room, rate, dtype)[offset : offset + needed].view(shape)

    def _pool(self, size: int, rate: float, dtype: torch.dtype) -> Tensor:
        pool = self._pools.get((rate, dtype))
        if pool is None or pool.numel() < size:
            pool = self._draw(size, rate).to(dtype)
            self._pools[rate, dtype] = pool
        return pool

    def _draw(self, size: int, rate: float) -> Tensor:
        # In blocks, each from its own seed: a longer pool begins with the shorter one.
        seed, round_number = self._round
        blocks = []
        for block in range(-(-size // _SMALLEST_POOL)):
            # Two steps of a linear congruence, so that seeds and rounds that lie close together do not share blocks.
            mixed = ((seed * 1_000_003 + round_number) * 1_000_003 + block) % (1 << 63)
            generator = torch.Generator().manual_seed(mixed)
            blocks.append(torch.empty(_SMALLEST_POOL).bernoulli_(1 - rate, generator=generator))
        return torch.cat(blocks).div_(1 - rate)


class Dropout(nn.Module):
    """Drops elements with probability `rate` while training; scales the rest by 1 / (1 - rate)."""

    def __init__(self, rate: float, pool: NoisePool) -> None:
        super().__init__()
        self.rate = rate
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.rate)
        return x * self.pool.mask(x.shape, self.rate, x.dtype)
