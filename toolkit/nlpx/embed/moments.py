"""Count, mean and second moments of vectors, summed in one pass in float64; partial sums add up exactly.

Sums are taken about a fixed point near the mean, so that large common offsets cost no digits, and over blocks of a
fixed number of rows, so that the way in which the rows arrive changes no bit of the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpx.errors import InputError

Matrix = NDArray[Any]

BLOCK_ROWS = 2048


class Moments:
    """Of the rows added so far. `shift` (d,), `sums` (d,) and `products` (d, d) are about `shift`; all float64."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.count = 0
        self.num_zero = 0
        self.shift: Matrix | None = None
        self.sums = np.zeros(columns)
        self.products = np.zeros((columns, columns))
        self.directions = np.zeros(columns)  # sum of the rows, each scaled to length 1
        self._block: Matrix = np.empty((BLOCK_ROWS, columns))
        self._filled = 0

    def add(self, rows: Matrix) -> None:
        """Add rows (N, d) of any float type."""
        if rows.shape[1] != self.columns:
            raise InputError(f"vectors of {rows.shape[1]} numbers where {self.columns} are expected")
        start = 0
        self.count += len(rows)
        while start < len(rows):
            count = min(BLOCK_ROWS - self._filled, len(rows) - start)
            self._block[self._filled : self._filled + count] = rows[start : start + count]
            self._filled, start = self._filled + count, start + count
            if self._filled == BLOCK_ROWS:
                self._flush()

    def merge(self, other: Moments) -> None:
        """Add what `other` holds, as if its rows had been added here."""
        if other.columns != self.columns:
            raise InputError(f"moments of {other.columns} dimensions where {self.columns} are expected")
        self._flush()
        other._flush()
        if other.shift is None:
            return
        if self.shift is None:
            self.shift = other.shift.copy()
        offset = other.shift - self.shift
        self.products += other.products + np.outer(other.sums, offset) + np.outer(offset, other.sums)
        self.products += other.count * np.outer(offset, offset)
        self.sums += other.sums + other.count * offset
        self.directions += other.directions
        self.count += other.count
        self.num_zero += other.num_zero

    @property
    def mean(self) -> Matrix:
        """(d,)"""
        self._flush()
        return self._point + self.sums / self.count

    def second_moment(self, beta: float = 1.0, *, ddof: int = 1) -> Matrix:
        """Of x - beta * mean, divided by count - ddof, (d, d): beta 1 is the covariance, beta 0 leaves the mean in."""
        self._flush()
        centred = self.products - np.outer(self.sums, self.sums) / self.count
        if beta != 1:
            mean = self.mean
            centred = centred + self.count * (1 - beta) ** 2 * np.outer(mean, mean)
        return centred / (self.count - ddof)

    @property
    def mean_cosine(self) -> float:
        """Over all pairs of different rows; rows of zeros count as cosine 0."""
        self._flush()
        if self.count < 2:
            return float("nan")
        own = self.count - self.num_zero
        return float((self.directions @ self.directions - own) / (self.count * (self.count - 1)))

    def tensors(self) -> dict[str, Matrix]:
        """All of it, for saving."""
        self._flush()
        return {
            "count": np.array([self.count, self.num_zero]),
            "shift": self._point,
            "sums": self.sums,
            "products": self.products,
            "directions": self.directions,
        }

    @classmethod
    def of_tensors(cls, tensors: dict[str, Matrix]) -> Moments:
        """What `tensors` gave."""
        moments = cls(len(tensors["shift"]))
        moments.count, moments.num_zero = (int(value) for value in tensors["count"])
        for name in ("shift", "sums", "products", "directions"):
            setattr(moments, name, tensors[name])
        return moments

    @property
    def _point(self) -> Matrix:
        return np.zeros(self.columns) if self.shift is None else self.shift

    def _flush(self) -> None:
        block, self._filled = self._block[: self._filled], 0
        if not len(block):
            return
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
        scales = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        self.directions += scales @ block
        self.num_zero += int((lengths == 0).sum())
        if self.shift is None:
            self.shift = block.mean(axis=0)
        block -= self.shift
        self.sums += block.sum(axis=0)
        self.products += block.T @ block
