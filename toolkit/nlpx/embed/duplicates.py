"""How many different rows there are among very many, estimated from a sample that is drawn by what the rows hold.

Equal rows are drawn together or not at all, so that the fraction of duplicates in the sample is that of the whole; up
to 2,048 different rows the sample is everything and the number exact. Whenever more are held, every second possible
row is dropped and the drawing continues at half the rate, as in adaptive sampling (Wegman; Flajolet, Computing 43,
1990).
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]

MOST = 2048  # different rows that are held
_COLUMNS = 4  # what the drawing looks at: more would cost, and it need only be fair on the whole
_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64)


class DuplicateSample:
    """Rows that were drawn, each as its key and checksum, and how often it came. Rows of zeros are left out.

    A row is drawn if its key begins with `level` zero bits. The level that is reached depends on the rows alone; to
    begin with one that other rows of the same whole have reached saves what would be dropped.
    """

    def __init__(self, level: int = 0) -> None:
        self.level = level
        self.times: dict[tuple[int, int], int] = {}

    def add(self, rows: Matrix) -> None:
        """Add rows (N, d). Equality is that of float32, whatever the rows are."""
        keys = _keys(rows)
        for index in np.flatnonzero(keys <= np.uint64(self._limit)):
            row = rows[index].astype(np.float32, copy=False)
            if row.any():
                self._add((int(keys[index]), zlib.crc32(row.data)), 1)

    def merge(self, other: DuplicateSample) -> None:
        """Add what `other` drew, as if its rows had been added here."""
        self.level = max(self.level, other.level)
        self._drop()
        for row, times in other.times.items():
            self._add(row, times)

    @property
    def fraction_of_distinct(self) -> float:
        """Different rows by rows, between 0 and 1; 1 if nothing was drawn."""
        total = sum(self.times.values())
        return len(self.times) / total if total else 1.0

    def tensor(self) -> Matrix:
        """All of it, (1 + M, 3), for saving."""
        rows = [(self.level, 0, 0), *((*row, times) for row, times in self.times.items())]
        return np.array(rows, dtype=np.uint64)

    @classmethod
    def of_tensor(cls, tensor: Matrix) -> DuplicateSample:
        """What `tensor` gave."""
        sample = cls(int(tensor[0, 0]))
        sample.times = {(key, checksum): times for key, checksum, times in tensor[1:].tolist()}
        return sample

    @property
    def _limit(self) -> int:
        return (1 << 64 - self.level) - 1

    def _add(self, row: tuple[int, int], times: int) -> None:
        if row[0] <= self._limit:
            self.times[row] = self.times.get(row, 0) + times
        while len(self.times) > MOST:
            self.level += 1
            self._drop()

    def _drop(self) -> None:
        self.times = {row: times for row, times in self.times.items() if row[0] <= self._limit}


def _keys(rows: Matrix) -> Matrix:
    """A number of 64 bits for each row (N, d), the same for equal rows: (N,)."""
    places = np.linspace(0, rows.shape[1] - 1, _COLUMNS).astype(int)
    bits = rows[:, places].astype(np.float32).view(np.uint32).astype(np.uint64)
    mixed: Matrix = (bits * _ODD).sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(29)
    mixed *= _ODD[1]
    mixed ^= mixed >> np.uint64(32)
    return mixed
