"""Sorted runs on disk: a table of counts in the order of its keys, written and read block by block.

A run is a sequence of blocks; a block is its number of records, the number of bytes of its texts, the length of each
key in characters, the counts, and the keys one after the other in UTF-8. Keys ascend by code point, which is also the
order of the bytes and of Python's comparison.
"""

from __future__ import annotations

import os
import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import BinaryIO

from nlpx.errors import MachineError
from nlpx.io import full_disk_named

# Keys and their counts, in the same order.
Records = tuple[Sequence[str], Sequence[int]]

BLOCK_RECORDS = 1024  # keys of a block on disk: one block per run is in memory while runs are merged
# Runs merged at once: enough for one pass nearly always, well below what a process may open.
MOST_OPEN_RUNS = 64
_HEAD = struct.Struct("<QQ")


@contextmanager
def spilling_to(path: Path) -> Iterator[BinaryIO]:
    """Open a file for a part of the counts; a full disk becomes a MachineError that names the place."""
    try:
        consequence = "the counts did not fit in memory and their parts not here"
        with full_disk_named(path.parent, consequence), path.open("wb") as stream:
            yield stream
    except MachineError as error:
        path.unlink(missing_ok=True)
        hint = "free some space there, choose another place with TMPDIR, or allow more with --memory"
        raise MachineError(error.message, hint=hint) from error


def write_run(path: Path, blocks: Iterable[Records]) -> int:
    """Write records that come in order; returns how many. Raises MachineError if the disk is full."""
    num_records = 0
    with spilling_to(path) as stream:
        for keys, counts in blocks:
            for first in range(0, len(keys), BLOCK_RECORDS):
                part = slice(first, first + BLOCK_RECORDS)
                stream.write(_packed(keys[part], counts[part]))
            num_records += len(keys)
    return num_records


def _packed(keys: Sequence[str], counts: Sequence[int]) -> bytes:
    text = "".join(keys).encode()
    lengths = array("Q", map(len, keys))
    return _HEAD.pack(len(keys), len(text)) + lengths.tobytes() + array("Q", counts).tobytes() + text


def read_run(path: Path) -> Generator[Records, None, None]:
    """Yield the blocks of a run."""
    with path.open("rb") as stream:
        while head := stream.read(_HEAD.size):
            num_records, num_bytes = _HEAD.unpack(head)
            lengths, counts = (array("Q", stream.read(8 * num_records)) for _ in range(2))
            text = stream.read(num_bytes).decode()
            ends = accumulate(lengths, initial=0)
            yield [text[start:end] for start, end in pairwise(ends)], counts


def run_size(path: Path) -> tuple[int, int]:
    """The number of records of a run and the bytes of its texts, without reading them."""
    records = text = 0
    with path.open("rb") as stream:
        while head := stream.read(_HEAD.size):
            num_records, num_bytes = _HEAD.unpack(head)
            stream.seek(16 * num_records + num_bytes, os.SEEK_CUR)
            records, text = records + num_records, text + num_bytes
    return records, text


def merge_runs(paths: Sequence[Path]) -> Iterator[Records]:
    """Yield the sum of sorted runs, in order; in memory is one block of each. At most `MOST_OPEN_RUNS` of them."""
    with ExitStack() as stack:
        readers = [stack.enter_context(closing(read_run(path))) for path in paths]
        heads = [head for reader in readers if (head := _Head.first(reader))]
        while heads:
            # All keys up to the least last one are at hand: what follows in any run is greater.
            bound = min(head.keys[-1] for head in heads)
            table: dict[str, int] = {}
            for head in heads:
                head.take(bound, table)
            keys = sorted(table)
            yield keys, [table[key] for key in keys]
            heads = [head for head in heads if head.fill()]


class _Head:
    """The block a merge stands in, of one run."""

    def __init__(self, reader: Iterator[Records]) -> None:
        self.reader = reader
        self.keys: Sequence[str] = ()
        self.counts: Sequence[int] = ()
        self.place = 0

    @classmethod
    def first(cls, reader: Iterator[Records]) -> _Head | None:
        head = cls(reader)
        return head if head.fill() else None

    def fill(self) -> bool:
        if self.place < len(self.keys):
            return True
        self.keys, self.counts = next(self.reader, ((), ()))
        self.place = 0
        return len(self.keys) > 0

    def take(self, bound: str, table: dict[str, int]) -> None:
        end = bisect_right(self.keys, bound, lo=self.place)
        add_records(table, self.keys[self.place : end], self.counts[self.place : end])
        self.place = end


def add_records(table: dict[str, int], keys: Iterable[str], counts: Iterable[int]) -> None:
    """Add counts to a table."""
    get = table.get
    for key, count in zip(keys, counts, strict=True):
        table[key] = get(key, 0) + count


def merged_in_passes(
    paths: Sequence[Path], folder: Path, merge_into: Callable[[Sequence[Path], Path], object]
) -> list[Path]:
    """Merge runs in groups until few enough are left to be read at once; runs that were merged are deleted."""
    left, number = list(paths), 0
    while len(left) > MOST_OPEN_RUNS:
        waiting, left = iter(left), []
        while group := list(islice(waiting, MOST_OPEN_RUNS)):
            target = folder / f"pass-{number}.run"
            merge_into(group, target)
            for path in group:
                # A checkpoint keeps its runs: only what lies in the temporary folder is ours to delete.
                if path.is_relative_to(folder):
                    path.unlink()
            left.append(target)
            number += 1
    return left
