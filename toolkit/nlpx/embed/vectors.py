"""Files of vectors (`.npy`, two-dimensional, floats), read and written in parts, so that no size is too large."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlpx.errors import InputError, UsageError
from nlpx.io import write_atomically

Matrix = NDArray[Any]

CHUNK_BYTES = 8 << 20  # read at once: fits into a processor's cache, and one read call costs little beside it
LARGEST = 1 << 56  # numbers: beyond what any disk holds, and where lists of parts would fill the memory
FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class VectorFile:
    """An array of shape (rows, columns) on disk, or on stdin (`-`), whose header has been read."""

    name: str
    path: str
    rows: int
    columns: int
    dtype: np.dtype[Any]
    fortran_order: bool
    offset: int

    @property
    def repeatable(self) -> bool:
        """Whether it can be read more than once."""
        return self.path != "-"

    @property
    def chunk_rows(self) -> int:
        """How many rows are read at a time: small enough for a processor's cache, large enough for its products."""
        return max(1, CHUNK_BYTES // (self.columns * self.dtype.itemsize))

    def chunks(self, num_rows: int | None = None, *, start: int = 0, stop: int | None = None) -> Iterator[Matrix]:
        """Yield the rows from `start` to before `stop` in order, `num_rows` at a time; float16 as float32.

        Buffers are used again: a chunk is valid only until the next one is read. Raises InputError if the file is
        truncated, and for a stream in Fortran order.
        """
        step, stop = num_rows or self.chunk_rows, self.rows if stop is None else min(stop, self.rows)
        bounds = [(first, min(first + step, stop)) for first in range(start, stop, step)]
        if not bounds:
            return
        parts = self._fortran_chunks(bounds) if self.fortran_order else self._read_ahead(bounds)
        for part in parts:
            yield part.astype(np.float32) if self.dtype.itemsize == 2 else part

    def finite_chunks(
        self, num_rows: int | None = None, *, start: int = 0, stop: int | None = None
    ) -> Iterator[Matrix]:
        """The same; raises InputError naming the first row with a NaN or an infinity."""
        for part in self.chunks(num_rows, start=start, stop=stop):
            with np.errstate(over="ignore", invalid="ignore"):
                suspicious = not np.isfinite(part.sum())  # cheaper than to look at each; finite numbers may overflow
            if suspicious and not np.isfinite(part).all():
                row, column = np.argwhere(~np.isfinite(part))[0]
                raise InputError(
                    f"{self.name}: row {start + row} holds {part[row, column]} in column {column} "
                    "(both counted from 0)",
                    hint="find out where it comes from, or leave the row out",
                )
            yield part
            start += len(part)

    def _read_ahead(self, bounds: list[tuple[int, int]]) -> Iterator[Matrix]:
        """One part is read while the one before it is in use; a stream, which may block, only on request."""
        buffers = [np.empty((stop - start, self.columns), self.dtype) for start, stop in bounds[:2]]
        with self._stream(bounds[0][0]) as stream, ThreadPoolExecutor(1) as reader:

            def begin(number: int) -> Callable[[], Matrix]:
                start, stop = bounds[number]
                work = partial(self._fill, stream, buffers[number % 2][: stop - start], start)
                return reader.submit(work).result if self.repeatable else work

            waiting = begin(0)
            for number in range(1, len(bounds) + 1):
                part = waiting()
                if number < len(bounds):
                    waiting = begin(number)
                yield part

    def _fill(self, stream: BinaryIO, part: Matrix, start: int) -> Matrix:
        view, filled = part.data.cast("B"), 0
        while filled < len(view):
            count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                whole = start + filled // (self.columns * self.dtype.itemsize)
                raise InputError(f"{self.name}: truncated: {whole:,} of {self.rows:,} rows are there")
            filled += count
        return part

    def _fortran_chunks(self, bounds: list[tuple[int, int]]) -> Iterator[Matrix]:
        if not self.repeatable:
            raise InputError("stdin: the array is in Fortran order", hint="np.save(..., np.ascontiguousarray(array))")
        mapped = np.memmap(
            self.path, self.dtype, mode="r", offset=self.offset, shape=(self.rows, self.columns), order="F"
        )
        for start, stop in bounds:
            yield np.ascontiguousarray(mapped[start:stop])

    @contextmanager
    def _stream(self, first_row: int) -> Iterator[BinaryIO]:
        if self.path == "-":
            yield sys.stdin.buffer
            return
        with Path(self.path).open("rb", buffering=0) as stream:
            stream.seek(self.offset + first_row * self.columns * self.dtype.itemsize)
            yield stream


def open_vectors(source: str | Path) -> VectorFile:
    """Read the header of a `.npy` file, or of what comes on stdin (`-`).

    Raises InputError for what is no such file, is pickled, not two-dimensional, not floating point, empty or truncated.
    """
    if str(source) == "-":
        if sys.stdin.isatty():
            raise UsageError("no vectors: stdin is a terminal", hint="name a .npy file, or pipe one into the command")
        return _checked("stdin", "-", sys.stdin.buffer, None)
    path = Path(source)
    try:
        with path.open("rb") as stream:
            return _checked(str(path), str(path), stream, path.stat().st_size)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from None


def _checked(name: str, path: str, stream: BinaryIO, size: int | None) -> VectorFile:
    shape, fortran_order, dtype = _header(name, stream)
    hint = "np.save('vectors.npy', vectors.astype('float32')) writes what is expected: one row a vector"
    if dtype.hasobject:
        raise InputError(f"{name}: holds pickled objects, which are never loaded", hint=hint)
    if dtype.name not in FLOATS or not dtype.isnative:
        raise InputError(f"{name}: the numbers are {dtype.str}, not {', '.join(FLOATS)}", hint=hint)
    if len(shape) != 2:
        raise InputError(f"{name}: the shape is {shape}, not (rows, columns)", hint=hint)
    if any(size < 0 for size in shape) or shape[0] * shape[1] > LARGEST:
        raise InputError(f"{name}: the header says {shape}, which no file can hold", hint=hint)
    if not all(shape):
        raise InputError(f"{name}: the shape is {shape}: there is not one vector")
    offset = stream.tell() if size is not None else 0
    expected = shape[0] * shape[1] * dtype.itemsize
    if size is not None and size - offset < expected:
        whole = max(0, size - offset) // (shape[1] * dtype.itemsize)
        raise InputError(f"{name}: truncated: {whole:,} of {shape[0]:,} rows are there", hint="write it again")
    return VectorFile(name, path, shape[0], shape[1], dtype, fortran_order, offset)


def _header(name: str, stream: BinaryIO) -> tuple[Any, bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        return np.lib.format.read_array_header_2_0(stream)
    except OSError:
        raise
    except Exception as error:  # numpy reads the header as Python: what is none makes errors of many classes
        reason = (str(error).splitlines() or ["its header ends too early"])[0][:100]
        raise InputError(f"{name}: no .npy file: {reason}", hint="np.save writes one") from None


@contextmanager
def write_vectors(target: str | Path, *, rows: int, columns: int, dtype: str = "float32") -> Iterator[VectorWriter]:
    """Write an array of known shape in parts, to a file (under a temporary name, then renamed) or to stdout (`-`).

    Raises UsageError if stdout is a terminal.
    """
    if str(target) == "-":
        if sys.stdout.isatty():
            raise UsageError("vectors are no text for a terminal", hint="-o vectors.npy writes them to a file")
        yield VectorWriter(sys.stdout.buffer, rows=rows, columns=columns, dtype=dtype)
        sys.stdout.buffer.flush()
        return
    with write_atomically(Path(target)) as temporary, temporary.open("wb") as stream:
        yield VectorWriter(stream, rows=rows, columns=columns, dtype=dtype)


class VectorWriter:
    """Appends rows to an array whose shape is known beforehand."""

    def __init__(self, stream: BinaryIO, *, rows: int, columns: int, dtype: str) -> None:
        self.stream, self.dtype = stream, np.dtype(dtype)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (rows, columns)}
        np.lib.format.write_array_header_1_0(stream, header)

    def write(self, part: Matrix) -> None:
        """Append rows (N, columns)."""
        self.stream.write(np.ascontiguousarray(part, dtype=self.dtype).data.cast("B"))


def beside(path: str | Path, ending: str) -> Path:
    """`emb.npy` and `.whitened.npy` give `emb.whitened.npy`."""
    whole = os.fspath(path)
    return Path(whole.removesuffix(".npy") + ending)
