"""From sorted runs to one table, and from its order by key to the order by count.

Both happen in memory, or through files where that does not suffice.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from nlpx.counting.runs import (
    Records,
    add_records,
    merge_runs,
    merged_in_passes,
    read_run,
    run_size,
    write_run,
)

if TYPE_CHECKING:
    from nlpx.counting.grams import Grams

# A key of a few characters with its count, in a dictionary, while it grows; a pair of both in a list.
_ENTRY_BYTES = 256
_CHUNK = 1 << 16

Ranked = Iterator[tuple[str, int]]


class Result(Protocol):
    """All counts."""

    total: int
    distinct: int

    def ranked(self, top: int | None, min_count: int) -> Ranked:
        """Keys and counts by descending count, equal ones by code point."""


def collect(paths: Sequence[Path], *, folder: Path, limit: int, characters: int | None = None) -> Result:
    """Add up sorted runs within `limit` bytes; what does not fit goes through `folder`.

    `characters`: the runs hold n-grams of so many characters as arrays. Raises MachineError if the disk is full.
    """
    if characters is not None:
        return _collect_grams(paths, folder, limit, characters)
    sizes = [run_size(path) for path in paths]
    if sum(records * _ENTRY_BYTES + 2 * text for records, text in sizes) <= limit:
        return TextResult(_added_up(paths))
    left = merged_in_passes(paths, folder, lambda group, target: write_run(target, merge_runs(group)))
    return StoredResult(merge_runs(left), folder, limit)


def _added_up(paths: Sequence[Path]) -> dict[str, int]:
    table: dict[str, int] = {}
    for path in paths:
        for keys, counts in read_run(path):
            add_records(table, keys, counts)
    return table


def _collect_grams(paths: Sequence[Path], folder: Path, limit: int, characters: int) -> Result:
    from nlpx.counting.grams import MERGE_FACTOR, joined, merge_grams, to_texts, write_grams

    size = sum(path.stat().st_size for path in paths)
    left = merged_in_passes(paths, folder, lambda group, target: write_grams(target, merge_grams(group, characters)))
    merged = merge_grams(left, characters)
    if MERGE_FACTOR * size <= limit:
        return GramResult(joined(list(merged), characters), characters)
    return StoredResult(((to_texts(t.columns, characters), t.counts.tolist()) for t in merged), folder, limit)


class TextResult:
    """Counts in a dictionary."""

    def __init__(self, table: dict[str, int]) -> None:
        self.table = table
        self.total = sum(table.values())
        self.distinct = len(table)

    def ranked(self, top: int | None, min_count: int) -> Ranked:
        """Keys and counts by descending count, equal ones by code point."""
        table = self.table
        keys: Iterable[str] = table if min_count <= 1 else (key for key, count in table.items() if count >= min_count)
        if top is not None and top < self.distinct // 4:
            chosen = heapq.nsmallest(top, keys, key=lambda key: (-table[key], key))
        else:
            # The second sort keeps the order of the first among equals.
            chosen = sorted(sorted(keys), key=table.__getitem__, reverse=True)[:top]
        return ((key, table[key]) for key in chosen)


class GramResult:
    """Counts of n-grams of characters in arrays."""

    def __init__(self, table: Grams, characters: int) -> None:
        self.table = table
        self.characters = characters
        self.total = int(table.counts.sum())
        self.distinct = len(table.counts)

    def ranked(self, top: int | None, min_count: int) -> Ranked:
        """Keys and counts by descending count, equal ones by code point."""
        import numpy as np

        from nlpx.counting.grams import to_texts

        if not self.distinct or top == 0:
            return
        counts, least = self.table.counts, min_count
        if top is not None and top < len(counts):
            least = max(least, int(np.partition(counts, len(counts) - top)[len(counts) - top]))
        chosen = np.flatnonzero(counts >= least)
        chosen = chosen[np.argsort(-counts[chosen], kind="stable")][:top]
        for first in range(0, len(chosen), _CHUNK):
            part = self.table.select(chosen[first : first + _CHUNK])
            yield from zip(to_texts(part.columns, self.characters), part.counts.tolist(), strict=True)


class StoredResult:
    """Counts in a file, in the order of the keys."""

    def __init__(self, merged: Iterable[Records], folder: Path, limit: int) -> None:
        self.total = self.distinct = 0
        self._folder = folder
        self._path = folder / "all.run"
        self._most = max(limit // _ENTRY_BYTES, 1)
        write_run(self._path, self._counted(merged))

    def _counted(self, merged: Iterable[Records]) -> Iterator[Records]:
        for keys, counts in merged:
            self.total += sum(counts)
            self.distinct += len(keys)
            yield keys, counts

    def ranked(self, top: int | None, min_count: int) -> Ranked:
        """Keys and counts by descending count, equal ones by code point."""
        records = (record for record in _records(read_run(self._path)) if record[1] >= min_count)
        if top is not None and top <= self._most:
            return iter(heapq.nsmallest(top, records, key=_rank))
        return islice(self._ranked_outside(records), top)

    def _ranked_outside(self, records: Ranked) -> Ranked:
        with TemporaryDirectory(dir=self._folder) as name:
            place = Path(name)
            parts: list[Path] = []
            while chunk := list(islice(records, self._most)):
                chunk.sort(key=itemgetter(1), reverse=True)  # in the order of the keys they came
                parts.append(place / f"{len(parts)}.run")
                write_run(parts[-1], _blocks(chunk))
            parts = merged_in_passes(parts, place, lambda group, target: write_run(target, _blocks(_merged(group))))
            yield from _merged(parts)


def _rank(record: tuple[str, int]) -> tuple[int, str]:
    return -record[1], record[0]


def _merged(paths: Sequence[Path]) -> Ranked:
    return heapq.merge(*(_records(read_run(path)) for path in paths), key=_rank)


def _records(blocks: Iterable[Records]) -> Ranked:
    return chain.from_iterable(zip(keys, counts, strict=True) for keys, counts in blocks)


def _blocks(records: Iterable[tuple[str, int]]) -> Iterator[Records]:
    remaining = iter(records)
    while block := list(islice(remaining, 1024)):
        yield [key for key, _ in block], [count for _, count in block]
