"""The largest products of each query while they arrive in blocks of columns: exact, at a small part of their cost.

Once k products of a query are known, only those above the smallest of them matter. One maximum stands for several
columns, so that most are never looked at one by one; what is found is merged by sorting whole numbers that hold
score and index together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]

COLUMNS_PER_MAXIMUM = 8  # columns whose largest product stands for all of them at first
_MANTISSA_AND_EXPONENT = np.uint32(0x7FFFFFFF)
_LOWER_HALF = np.uint64(0xFFFFFFFF)
_NOTHING = np.uint64(0xFF800000FFFFFFFF)  # the score minus infinity, behind every index


def above(products: Matrix, floors: Matrix) -> tuple[Matrix, Matrix]:
    """Where products (Q, B) exceed the floor (Q, 1) of their row: rows in ascending order, and columns."""
    num_rows, num_columns = products.shape
    if num_columns % COLUMNS_PER_MAXIMUM:
        rows, columns = np.divmod(np.flatnonzero(products > floors), num_columns)
        return rows, columns
    maxima = _maxima(products)
    rows, groups = np.divmod(np.flatnonzero(maxima > floors), maxima.shape[1])
    members = products.reshape(num_rows, COLUMNS_PER_MAXIMUM, -1)[rows, :, groups]
    found, places = np.divmod(np.flatnonzero(members > floors[rows]), COLUMNS_PER_MAXIMUM)
    return rows[found], places * maxima.shape[1] + groups[found]


class TopK:
    """The `k` largest products of each of `num_queries`, best first; of equal ones the smaller index is better.

    Indices are below 2^32. Products must be finite and blocks must come in the order of their indices.
    """

    def __init__(self, num_queries: int, k: int) -> None:
        self.k = k
        self._keys = np.full((num_queries, k), _NOTHING)
        self._floors = np.full((num_queries, 1), -np.inf, dtype=np.float32)

    def add(self, products: Matrix, *, first_query: int, first_index: int) -> None:
        """Take in products (Q, B), float32, of the queries and the index rows from these on."""
        floors = self._floors[first_query : first_query + len(products)]
        if floors[0, 0] == -np.inf:
            floors = np.maximum(floors, _first_floors(products, self.k))
        rows, columns = above(products, floors)
        if len(rows):
            self._merge(first_query, rows, _keys(products[rows, columns], first_index + columns))

    def result(self) -> tuple[Matrix, Matrix]:
        """Scores (Q, k), float32, and indices (Q, k); minus infinity where fewer than `k` products came."""
        return _scores(self._keys), (self._keys & _LOWER_HALF).astype(np.int64)

    def _merge(self, first_query: int, rows: Matrix, keys: Matrix) -> None:
        touched, starts, counts = np.unique(rows, return_index=True, return_counts=True)
        width = self.k + int(counts.max())
        merged = np.full((len(touched), width), _NOTHING)
        merged[:, : self.k] = self._keys[first_query + touched]
        places = np.arange(len(rows)) - np.repeat(starts, counts)
        merged[np.repeat(np.arange(len(touched)), counts), self.k + places] = keys
        merged.sort(axis=1)
        self._keys[first_query + touched] = merged[:, : self.k]
        self._floors[first_query + touched] = _scores(merged[:, self.k - 1 : self.k])


def _maxima(products: Matrix) -> Matrix:
    """Of columns that are equally far apart, (Q, B / 8): whole rows of numbers are compared at once."""
    grouped = products.reshape(len(products), COLUMNS_PER_MAXIMUM, -1)
    found: Matrix = grouped.max(axis=1)
    return found


def _first_floors(products: Matrix, k: int) -> Matrix:
    """Just below the k-th largest maximum of each row, which at least k products reach, (Q, 1)."""
    num_maxima, left_over = divmod(products.shape[1], COLUMNS_PER_MAXIMUM)
    if left_over or k > num_maxima:
        return np.full((len(products), 1), -np.inf, dtype=np.float32)
    place = num_maxima - k
    floors = np.partition(_maxima(products), place, axis=1)[:, place : place + 1]
    below: np.ndarray = np.nextafter(floors, np.float32(-np.inf))
    return below


def _keys(scores: Matrix, indices: Matrix) -> Matrix:
    """Numbers that sort by descending score, then by ascending index."""
    bits = (scores + np.float32(0)).view(np.uint32)  # the sum turns -0 into 0, its equal
    return _flipped(bits).astype(np.uint64) << np.uint64(32) | indices.astype(np.uint64)


def _scores(keys: Matrix) -> Matrix:
    return _flipped((keys >> np.uint64(32)).astype(np.uint32)).view(np.float32)


def _flipped(bits: Matrix) -> Matrix:
    """Bits of floats as whole numbers in descending order, and back: those of negative floats already descend."""
    return np.where(bits >> np.uint32(31), bits, bits ^ _MANTISSA_AND_EXPONENT)
