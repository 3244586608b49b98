"""Where a token stands: learned tables, their hierarchical extension, rotation, relative vectors, relative buckets."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlpx.errors import InputError


class PositionEmbeddings(nn.Module):
    """Position table (n, D), `learned` for n positions or `hierarchical` for n * n from the same n rows.

    Hierarchical (kexue.fm/archives/7947): position k = x n + y gets alpha u_x + (1 - alpha) u_y with
    u = (p - alpha p_0) / (1 - alpha); the first n positions keep their vectors. As one sum:
    q_k = p_y + alpha / (1 - alpha) (p_x - p_0).
    """

    def __init__(self, num_positions: int, size: int, *, alpha: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_positions, size))
        self.alpha = alpha

    @property
    def max_length(self) -> int:
        """The longest text the table can place."""
        rows = self.weight.shape[0]
        return rows if self.alpha is None else rows * rows

    def forward(self, position_ids: Tensor, num_positions: int) -> Tensor:
        """Vectors (..., D) of integer positions (...) below `num_positions`.

        Raises `InputError` if `num_positions` exceeds `max_length`.
        """
        if num_positions > self.max_length:
            raise InputError(
                f"a text of {num_positions} tokens is longer than the model's {self.max_length} positions",
                hint="shorten the texts (max_length), or load the model with position=hierarchical",
            )
        rows = self.weight.shape[0]
        if self.alpha is None or num_positions <= rows:
            return functional.embedding(position_ids, self.weight)
        block = functional.embedding(position_ids // rows, self.weight) - self.weight[0]  # p_x - p_0, (B, T, D)
        inside = functional.embedding(position_ids % rows, self.weight)  # p_y, (B, T, D)
        return inside + self.alpha / (1 - self.alpha) * block


def hierarchical_rows(table: Tensor, num_rows: int, alpha: float) -> Tensor:
    """The first `num_rows` hierarchical positions of a learned table (n, D), written out as (num_rows, D).

    Raises `InputError` beyond n * n rows, and for alpha 0.5, which gives (i, j) and (j, i) the same vector.
    """
    rows = table.shape[0]
    if num_rows > rows * rows:
        raise InputError(f"a table of {rows} positions extends to {rows * rows}, not to {num_rows}")
    if alpha == 0.5:
        raise InputError("hierarchical_alpha 0.5 gives the positions (i, j) and (j, i) the same vector")
    positions = torch.arange(num_rows, device=table.device)
    extended = table[positions % rows] + alpha / (1 - alpha) * (table[positions // rows] - table[0])
    extended[: min(rows, num_rows)] = table[:num_rows]
    return extended


def sinusoids(num_positions: int, size: int) -> Tensor:
    """Fixed table (num_positions, size): sine on even, cosine on odd dimensions (arXiv 1706.03762)."""
    frequencies = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = torch.arange(num_positions, dtype=torch.float64)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


class Rotary(nn.Module):
    """Rotates neighbouring dimension pairs (0, 1), (2, 3), ... of queries and keys (RoFormer, arXiv 2104.09864).

    LLaMA-style code pairs the two halves instead; the two are not interchangeable on trained weights.
    """

    def __init__(self, key_size: int) -> None:
        super().__init__()
        self.key_size = key_size
        # Recomputed, never loaded or saved: plain attributes, so that no checkpoint and no broadcast carries them.
        self._cos, self._sin = torch.empty(0), torch.empty(0)

    def tables(self, position_ids: Tensor, num_positions: int) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine of each position (B or 1, T), both (B or 1, 1, T, key_size), for `rotate`."""
        if self._cos.shape[0] < num_positions or self._cos.device != position_ids.device:
            self._grow(num_positions, position_ids.device)
        return self._cos[position_ids][:, None], self._sin[position_ids][:, None]

    def _grow(self, length: int, device: torch.device) -> None:
        frequencies = 10000.0 ** (-torch.arange(0, self.key_size, 2, dtype=torch.float64) / self.key_size)
        angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
        # cos: c0 c0 c1 c1 ...; sin: -s0 s0 -s1 s1 ..., so that `rotate` is one product with the swapped pairs.
        sign = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        self._cos = angles.cos().repeat_interleave(2, dim=1).float().to(device)
        self._sin = (angles.sin()[..., None] * sign).flatten(1).float().to(device)


def rotate(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """x (B, H, T, D) rotated by its positions: (x0, x1) -> (x0 cos - x1 sin, x1 cos + x0 sin)."""
    swapped: Tensor = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)  # (x1, x0, x3, x2, ...), (B, H, T, D)
    return x * cos.to(x.dtype) + swapped * signed_sin.to(x.dtype)


class RelativePositions(nn.Module):
    """NEZHA's fixed vectors of the distance j - i, clipped to +-max_distance (arXiv 1909.00204)."""

    def __init__(self, max_distance: int, size: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.table = sinusoids(2 * max_distance + 1, size)

    def forward(self, position_ids: Tensor, num_stored: int = 0) -> Tensor:
        """Vectors (T, S, D) of query i and key j; `position_ids` is (1, T).

        The keys are at the positions 0 to `num_stored` that a cache holds, and after them at those of the queries.
        """
        positions = position_ids[0]  # T
        keys = torch.cat([torch.arange(num_stored, device=positions.device), positions])  # S
        distance = (keys[None, :] - positions[:, None]).clamp(-self.max_distance, self.max_distance)  # (T, S)
        self.table = self.table.to(positions.device)
        return self.table[distance + self.max_distance]  # shifted, so that the most negative distance is row 0


class BucketedPositions(nn.Module):
    """T5's bias on the scores: one number a head for each bucket of distances j - i (arXiv 1910.10683).

    One table serves all layers of a stack. A causal stack spends all buckets on what lies before the query.
    """

    def __init__(self, num_buckets: int, max_distance: int, num_heads: int, *, causal: bool) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.weight = nn.Parameter(torch.empty(num_buckets, num_heads))
        # Of every distance that can be told from others; what is farther away is clipped.
        distances = torch.arange(-max_distance, max_distance + 1)
        self.buckets = distance_buckets(distances, num_buckets=num_buckets, max_distance=max_distance, causal=causal)

    def forward(self, position_ids: Tensor, num_stored: int = 0) -> Tensor:
        """The bias (B or 1, H, T, S) of queries at `position_ids` (B or 1, T).

        Without a cache the keys stand where the queries stand. With one they are the slots 0 to S - 1, S being
        `num_stored` and the T new tokens: slot s holds the token at position s.
        """
        keys = position_ids
        if num_stored:
            num_slots = num_stored + position_ids.shape[1]
            keys = torch.arange(num_slots, device=position_ids.device)[None]  # (1, S)
        distance = keys[:, None, :] - position_ids[:, :, None]  # (B or 1, T, S)
        index = distance.clamp_(-self.max_distance, self.max_distance).add_(self.max_distance)
        self.buckets = self.buckets.to(position_ids.device)
        of_distance = functional.embedding(self.buckets, self.weight).t()  # (H, 2 max + 1)
        # A look-up in the few numbers of each head, several times as fast as one of buckets in the table.
        bias: Tensor = of_distance.index_select(1, index.flatten()).unflatten(1, index.shape)  # (H, B or 1, T, S)
        return bias.transpose(0, 1)


def distance_buckets(distance: Tensor, *, num_buckets: int, max_distance: int, causal: bool) -> Tensor:
    """Buckets 0 to num_buckets - 1 of distances j - i of any shape.

    Half of the buckets are one distance each, the others grow by a constant factor up to `max_distance`, from which on
    all distances share the last. Unless `causal`, the upper half of them is for keys after the query; else such keys,
    which no query sees, are in bucket 0.
    """
    if causal:
        first, steps = torch.zeros_like(distance), (-distance).clamp(min=0)
    else:
        num_buckets //= 2
        first, steps = (distance > 0).long() * num_buckets, distance.abs()
    exact = num_buckets // 2
    # float32 like the published code: at powers of the factor another precision rounds into the neighbouring bucket.
    octaves = torch.log(steps.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    grown = (exact + (octaves * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
    return first + torch.where(steps < exact, steps, grown)
