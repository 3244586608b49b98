"""Vectors of length 1, whose products are cosines. A vector of zeros stays one: its cosine to everything is 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpx.embed.vectors import VectorFile
from nlpx.embed.whitening import Whitening
from nlpx.errors import InputError

Matrix = NDArray[Any]

MAPPED_BYTES = 32 << 20  # of a file that is mapped at a time
SMALL, LARGE = 1e-30, 1e30  # squares beyond these lost digits in float32


def to_unit(rows: Matrix, *, name: str = "vectors", first_row: int = 0) -> tuple[Matrix, int]:
    """Rows (N, d) scaled to length 1 in float32, and how many are zero. float32 rows are changed in place.

    Raises InputError naming the first row with a NaN or an infinity, counted from `first_row`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    odd = np.flatnonzero(~((squares > SMALL) & (squares < LARGE)))
    squares[odd] = 1
    out = rows if rows.dtype == np.float32 and rows.flags.writeable else np.empty(rows.shape, np.float32)
    exact = [_exactly(rows[row], f"{name}: row {first_row + row}") for row in odd]
    np.multiply(rows, (1 / np.sqrt(squares))[:, None], out=out, casting="same_kind")
    for row, values in zip(odd, exact, strict=True):
        out[row] = values
    return out, sum(not values.any() for values in exact)


def exactly_unit(rows: Matrix) -> Matrix:
    """Finite rows (N, d) scaled to length 1 in float64."""
    unit: Matrix = rows.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", unit, unit))
    odd = np.flatnonzero(~((lengths > SMALL) & (lengths < LARGE)))  # of which squares may vanish or overflow
    for row in odd:
        largest = np.abs(unit[row]).max()
        unit[row] /= largest or 1
        lengths[row] = np.sqrt(unit[row] @ unit[row]) or 1
    unit /= lengths[:, None]
    return unit


def _exactly(row: Matrix, place: str) -> Matrix:
    """One row of very large, very small or no values, scaled in float64."""
    values = row.astype(np.float64)
    largest = np.abs(values).max()
    if not np.isfinite(largest):
        column = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(
            f"{place} holds {values[column]} in column {column} (both counted from 0)",
            hint="find out where it comes from, or leave the row out",
        )
    return exactly_unit(values[None]).ravel()


def whitened(rows: Matrix, whitening: Whitening | None) -> Matrix:
    """Rows (N, d) through the map, (N, k), or as they are; a row of zeros has no meaning to move, and stays zero."""
    if whitening is None:
        return rows
    mapped = whitening.apply(rows)
    mapped[~rows.any(axis=1)] = 0
    return mapped


class UnitVectors:
    """The rows of a file, through a map if there is one, at length 1, read in blocks as often as needed.

    Raises InputError if the map takes vectors of another dimension.
    """

    def __init__(self, file: VectorFile, whitening: Whitening | None = None) -> None:
        if whitening is not None and whitening.columns != file.columns:
            raise InputError(f"{file.name}: vectors of {file.columns} numbers; the map takes {whitening.columns}")
        self.file, self.whitening = file, whitening
        self.columns = file.columns if whitening is None else whitening.dim
        self.num_zero = 0  # known once all rows were read

    @property
    def rows(self) -> int:
        """How many."""
        return self.file.rows

    def blocks(self, num_rows: int, *, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Matrix]]:
        """Yield the first row and the rows (num_rows, columns), float32, valid only until the next are read.

        Raises InputError for a NaN or an infinity, and for a truncated file.
        """
        first_row, num_zero = start, 0
        for part in self.file.chunks(num_rows, start=start, stop=stop):
            count = len(part)
            if self.whitening is not None:
                part = whitened(_finite(part, self.file.name, first_row), self.whitening)
            unit, found = to_unit(part, name=self.file.name, first_row=first_row)
            yield first_row, unit
            first_row, num_zero = first_row + count, num_zero + found
        if start == 0 and stop is None:
            self.num_zero = num_zero

    def take(self, indices: Matrix) -> Matrix:
        """The rows of these indices, any shape (...), in float64 and at length 1: (..., columns)."""
        wanted, places = np.unique(indices, return_inverse=True)
        step = max(1, MAPPED_BYTES // (self.file.columns * self.file.dtype.itemsize))
        parts = np.split(wanted, np.flatnonzero(np.diff(wanted // step)) + 1)
        rows = np.concatenate([self._mapped(part) for part in parts]).astype(np.float64)
        return exactly_unit(whitened(rows, self.whitening))[places.reshape(indices.shape)]

    def _mapped(self, wanted: Matrix) -> Matrix:
        """Rows of ascending indices. Only the part of the file that holds them is mapped, and only meanwhile."""
        file, first = self.file, int(wanted[0])
        if file.fortran_order:
            whole = np.memmap(file.path, file.dtype, "r", file.offset, (file.rows, file.columns), "F")
            return np.array(whole[wanted])
        offset = file.offset + first * file.columns * file.dtype.itemsize
        mapped = np.memmap(file.path, file.dtype, "r", offset, (int(wanted[-1]) - first + 1, file.columns))
        return np.array(mapped[wanted - first])


def _finite(rows: Matrix, name: str, first_row: int) -> Matrix:
    """The rows themselves: a map would spread a NaN over all columns and hide its place."""
    for row in np.flatnonzero(~np.isfinite(rows).all(axis=1))[:1]:
        _exactly(rows[row], f"{name}: row {first_row + row}")
    return rows
