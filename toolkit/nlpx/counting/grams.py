"""Tables of n-grams of characters as sorted arrays of integers: far smaller and faster than texts in a dictionary.

A code point takes 21 bits, so three of them fit one 64-bit number whose order is that of the texts. The columns of a
table are its first three characters and, of 4- and 5-grams, the rest; a third array holds the counts.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlpx.counting.runs import spilling_to

CODE_BITS = np.uint64(21)
PACKED_CHARACTERS = 3  # of 21 bits in one 64-bit number
# Characters whose n-grams are sorted at once; their bigrams, numbered, must fit the bits of a code point.
WINDOW = 1 << 20
BLOCK_RECORDS = 1 << 14  # n-grams of a block on disk: one per run is in memory while runs are merged
_LINE_END = 10
# A table while it is merged: what there was, and the sum.
MERGE_FACTOR = 2

Columns = tuple[np.ndarray, ...]


class Grams(NamedTuple):
    """Distinct n-grams in order: one or two columns of uint64 (N,), and their counts, int64 (N,)."""

    columns: Columns
    counts: np.ndarray

    @property
    def num_bytes(self) -> int:
        return sum(column.nbytes for column in self.columns) + self.counts.nbytes

    def select(self, chosen: Any) -> Grams:
        """The n-grams at some positions: a slice, a mask or indices."""
        return Grams(tuple(column[chosen] for column in self.columns), self.counts[chosen])


def num_columns(n: int) -> int:
    """How many columns n-grams take."""
    return 1 if n <= PACKED_CHARACTERS else 2


def count_windows(text: str, n: int, is_break: np.ndarray) -> Iterator[Grams]:
    """Yield the n-grams of one window of a text after the other, those left out that hold a character of `is_break`.

    `is_break`, bool (0x110000,), must hold the line end.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    for first in range(0, max(0, len(codes) - n + 1), WINDOW):
        window = codes[first : first + WINDOW + n - 1]
        yield _count(window.astype(np.uint64), n, _whole(~is_break[window], n))


def _whole(kept: np.ndarray, n: int) -> np.ndarray:
    """Whether all `n` characters from a position on are kept: (T - n + 1,)."""
    num_grams = len(kept) - n + 1
    whole = kept[:num_grams].copy()
    for shift in range(1, n):
        whole &= kept[shift : shift + num_grams]
    return whole


def _count(codes: np.ndarray, n: int, whole: np.ndarray) -> Grams:
    if n <= PACKED_CHARACTERS:
        keys, counts = _run_lengths(np.sort(_pack(codes, n)[whole]))
        return Grams((keys,), counts)
    # The bigrams are numbered in their order, so that two numbers, of 5-grams with one character, fit one key.
    pairs, numbers = np.unique(_pack(codes, 2), return_inverse=True)
    numbers, num_grams = numbers.astype(np.uint64), len(whole)
    keys = numbers[:num_grams] << CODE_BITS | numbers[2 : 2 + num_grams]
    if n > 4:
        keys = keys << CODE_BITS | codes[4 : 4 + num_grams]
    keys, counts = _run_lengths(np.sort(keys[whole]))
    return Grams(_columns(keys, n, pairs), counts)


def _pack(codes: np.ndarray, n: int) -> np.ndarray:
    num_grams = len(codes) - n + 1
    keys = codes[:num_grams]
    for shift in range(1, n):
        keys = keys << CODE_BITS | codes[shift : shift + num_grams]
    return keys


def _columns(keys: np.ndarray, n: int, pairs: np.ndarray) -> Columns:
    low = np.uint64((1 << 21) - 1)
    last = keys & low if n > 4 else None
    numbers = keys >> CODE_BITS if n > 4 else keys
    head, tail = pairs[numbers >> CODE_BITS], pairs[numbers & low]
    rest = tail & low
    return head << CODE_BITS | tail >> CODE_BITS, rest if last is None else rest << CODE_BITS | last


def _run_lengths(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    starts = np.flatnonzero(_is_new(ordered))
    return ordered[starts], np.diff(starts, append=len(ordered))


def _is_new(ordered: np.ndarray) -> np.ndarray:
    new = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return new


def add_up(tables: Sequence[Grams]) -> Grams:
    """The sum of tables."""
    if len(tables) == 1:
        return tables[0]
    columns = tuple(np.concatenate(parts) for parts in zip(*(table.columns for table in tables), strict=True))
    counts = np.concatenate([table.counts for table in tables])
    # Stable means timsort here, which merges parts that are in order already.
    order = np.argsort(_one_key(columns), kind="stable")
    columns, counts = tuple(column[order] for column in columns), counts[order]
    del order
    starts = np.flatnonzero(np.logical_or.reduce([_is_new(column) for column in columns]))
    sums = np.add.reduceat(counts, starts) if len(starts) else counts
    return Grams(tuple(column[starts] for column in columns), sums)


def _one_key(columns: Columns) -> np.ndarray:
    """Keys with the order of all columns: bytes that begin with the highest are compared as the numbers are."""
    if len(columns) == 1:
        return columns[0]
    return np.stack(columns, axis=1).astype(">u8").view(f"S{8 * len(columns)}")[:, 0]


def to_texts(columns: Columns, n: int) -> list[str]:
    """The n-grams as texts."""
    codes = np.empty((len(columns[0]), n), np.uint32)
    first = min(n, PACKED_CHARACTERS)
    low = np.uint64((1 << 21) - 1)
    for column, begin, end in ((columns[0], 0, first), (columns[-1], first, n)):
        for place in range(begin, end):
            codes[:, place] = column >> np.uint64(21 * (end - 1 - place)) & low
    text = codes.tobytes().decode("utf-32-le")
    return [text[place : place + n] for place in range(0, len(text), n)]


def write_grams(path: Path, tables: Iterable[Grams]) -> int:
    """Write tables that follow each other in order as one run; returns how many n-grams. Raises MachineError."""
    num_grams = 0
    with spilling_to(path) as stream:
        for table in tables:
            for block in _blocks(table):
                stream.write(len(block.counts).to_bytes(8, "little"))
                for part in (*block.columns, block.counts):
                    stream.write(part.tobytes())
            num_grams += len(table.counts)
    return num_grams


def read_grams(path: Path, n: int) -> Generator[Grams, None, None]:
    """Yield the blocks of a run."""
    with path.open("rb") as stream:
        while head := stream.read(8):
            size = 8 * int.from_bytes(head, "little")
            columns = tuple(np.frombuffer(stream.read(size), np.uint64) for _ in range(num_columns(n)))
            yield Grams(columns, np.frombuffer(stream.read(size), np.int64))


def merge_grams(paths: Sequence[Path], n: int) -> Iterator[Grams]:
    """Yield the sum of sorted runs, in order; in memory is one block of each."""
    with ExitStack() as stack:
        yield from merge_blocks([stack.enter_context(closing(read_grams(path, n))) for path in paths])


def merge_tables(tables: Iterable[Grams]) -> Iterator[Grams]:
    """Yield the sum of sorted tables, in order and in small parts, which is also quicker than to sort all at once."""
    return merge_blocks([_blocks(table) for table in tables])


def _blocks(table: Grams) -> Iterator[Grams]:
    starts = range(0, len(table.counts), BLOCK_RECORDS)
    return (table.select(slice(start, start + BLOCK_RECORDS)) for start in starts)


def merge_blocks(readers: Iterable[Iterator[Grams]]) -> Iterator[Grams]:
    """Yield the sum of sequences of blocks, each of them in order."""
    heads = [(reader, block) for reader in readers if (block := next(reader, None)) is not None]
    while heads:
        # All n-grams up to the least last one are at hand: what follows in any sequence is greater.
        bound = min(tuple(int(column[-1]) for column in block.columns) for _, block in heads)
        taken, left = [], []
        for reader, block in heads:
            end = _end_of(block.columns, bound)
            if end:
                taken.append(block.select(slice(0, end)))
            rest = block.select(slice(end, None)) if end < len(block.counts) else next(reader, None)
            if rest is not None:
                left.append((reader, rest))
        yield add_up(taken)
        heads = left


def joined(tables: Sequence[Grams], n: int) -> Grams:
    """One table of tables that follow each other in order."""
    columns = tuple(
        np.concatenate([np.empty(0, np.uint64), *(table.columns[place] for table in tables)])
        for place in range(num_columns(n))
    )
    return Grams(columns, np.concatenate([np.empty(0, np.int64), *(table.counts for table in tables)]))


def _end_of(columns: Columns, bound: tuple[int, ...]) -> int:
    """The number of n-grams up to `bound`, that one included."""
    begin, end = 0, len(columns[0])
    for column, value in zip(columns[:-1], bound[:-1], strict=True):
        part, begin_before = column[begin:end], begin
        begin = begin_before + int(np.searchsorted(part, np.uint64(value), side="left"))
        end = begin_before + int(np.searchsorted(part, np.uint64(value), side="right"))
    return begin + int(np.searchsorted(columns[-1][begin:end], np.uint64(bound[-1]), side="right"))


def is_break_table(*, words_only: bool) -> np.ndarray:
    """Bool (0x110000,): white space, and with `words_only` whatever is no letter."""
    is_break = np.full(0x110000, words_only)
    if words_only:
        # All letters lie in the first four planes, all white space in the first.
        is_break[:0x40000] = [not chr(code).isalpha() for code in range(0x40000)]
    else:
        is_break[:0x3001] = [chr(code).isspace() for code in range(0x3001)]
    assert is_break[_LINE_END]
    return is_break
