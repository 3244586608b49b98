"""Moments of files of vectors: ranges of rows, summed here or on a cluster, in the precision that the result needs.

Products are float32 at first where that saves much time. If their rounding can be more than a direction that is to be
kept allows, which the first range mostly tells, everything is summed again in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlpx.embed.moments import Moments, Precision, block_rows
from nlpx.embed.vectors import VectorFile
from nlpx.embed.whitening import Choices, is_resolved
from nlpx.messages import Messages

Matrix = NDArray[Any]
Tensors = dict[str, Matrix]
OnRows = Callable[[int], None]

RANGE_BLOCKS = 16  # blocks of rows that are summed as one unit, here or by a worker of a cluster
FEW_ROWS = 20_000  # up to here float64 takes less than half a second


@dataclass(frozen=True, slots=True)
class Place:
    """Where sums are formed, and whether all in float64."""

    engine: Literal["local", "dask"] = "local"
    scheduler: str | None = None
    float64: bool = False


class Range(NamedTuple):
    """Some rows of a file, and how they are summed."""

    file: VectorFile
    start: int
    stop: int
    precision: Precision
    shift: Matrix  # (d,), one for all ranges, so that their sums are about the same point


def moments_of(files: Sequence[VectorFile], choices: Choices, place: Place, messages: Messages) -> Moments:
    """The moments of all rows, precise enough for a map of these choices. The files must be repeatable.

    Raises InputError for a row that is not finite and for a truncated file, and what the cluster raises.
    """
    if not place.float64 and sum(file.rows for file in files) > FEW_ROWS and _are_single(files):
        found = _summed(files, "float32", place, messages, choices)
        if found is not None:
            return found
        messages.detail("float32 products cannot resolve every direction that is kept: summing in float64")
    exact = _summed(files, "float64", place, messages)
    assert exact is not None, "without choices there is nothing to fall short of"
    return exact


def tensors_of(part: Range, on_rows: OnRows = lambda _count: None, *, sample_level: int = 0) -> Tensors:
    """The moments of a range, as `Moments.tensors` gives them."""
    moments = Moments(part.file.columns, precision=part.precision, shift=part.shift, sample_level=sample_level)
    for rows in part.file.finite_chunks(moments.block_rows, start=part.start, stop=part.stop):
        moments.add(rows)
        on_rows(len(rows))
    return moments.tensors()


def _summed(
    files: Sequence[VectorFile], precision: Precision, place: Place, messages: Messages, needed: Choices | None = None
) -> Moments | None:
    """The sum of the ranges in their order; None as soon as it cannot serve the map that is `needed`."""
    total = Moments(files[0].columns)
    rows = sum(file.rows for file in files)
    with messages.progress(rows, "fitting") as progress:
        parts = _ranges(files, precision)
        with closing(_results(parts, place, lambda count: progress.update(advance=count))) as results:
            for number, tensors in enumerate(results):
                total.merge(Moments.of_tensors(tensors))
                is_decisive = number in (0, len(parts) - 1)
                if needed is not None and is_decisive and not is_resolved(total, needed, rows=rows):
                    return None
    return total


def _results(parts: Sequence[Range], place: Place, on_rows: OnRows) -> Generator[Tensors, None, None]:
    if place.engine == "local":
        sample_level = 0
        for part in parts:
            tensors = tensors_of(part, on_rows, sample_level=sample_level)
            sample_level = int(tensors["copies"][0, 0])
            yield tensors
        return
    from nlpx.embed.cluster import tensors_from_cluster

    with closing(tensors_from_cluster(parts, place.scheduler)) as found:
        for part, tensors in zip(parts, found, strict=True):
            on_rows(part.stop - part.start)
            yield tensors


def _ranges(files: Sequence[VectorFile], precision: Precision) -> list[Range]:
    """All rows in ranges of whole blocks, about the mean of the first block of all."""
    size = block_rows(files[0].columns)
    sums = sum(rows.sum(axis=0, dtype=np.float64) for rows in files[0].finite_chunks(stop=size))
    mean = np.asarray(sums) / min(size, files[0].rows)
    shift = mean.astype(precision).astype(np.float64)
    step = RANGE_BLOCKS * size
    return [
        Range(file, start, min(start + step, file.rows), precision, shift)
        for file in files
        for start in range(0, file.rows, step)
    ]


def _are_single(files: Sequence[VectorFile]) -> bool:
    return all(file.dtype.itemsize <= 4 for file in files)
