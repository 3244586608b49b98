"""The work of building shards in items: each makes one shard, and the same one in whichever process.

Files that can be read from the middle are divided into ranges, which the workers read themselves. What has to be
read from its beginning (compressed files) is read by one process, which hands portions of texts to the workers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import TypeVar

from nlpx.data.corpus.pieces import Reading
from nlpx.data.corpus.texts import Block, plan_blocks, read_block
from nlpx.data.opening.sources import Source
from nlpx.data.opening.streams import open_source
from nlpx.io import full_disk_named, process_is_alive

SMALLEST = 1 << 21  # bytes of text in a shard
MOST_SHARDS = 256  # about; shards grow with the corpus, because each keeps two files open
PACKED = 4  # times that a compressed file may grow
BYTES_PER_CHARACTER = 3  # of Chinese in UTF-8

T = TypeVar("T")


@dataclass(frozen=True)
class WorkItem:
    """The texts of one shard: ranges to read, or texts that were read already."""

    blocks: tuple[Block, ...] = ()
    texts: tuple[str, ...] = ()
    name: str = ""

    def read(self, reading: Reading) -> Iterator[str]:
        """All its texts, in order."""
        return chain(self.texts, *(_read(block, reading) for block in self.blocks))


def plan(sources: Sequence[Source], reading: Reading) -> Iterator[WorkItem]:
    """All items in the order of the corpus; they depend on nothing but the sources."""
    for number, item in enumerate(_unnumbered(sources, reading, _bytes_per_shard(sources))):
        yield replace(item, name=f"{number:06d}")


def _unnumbered(sources: Sequence[Source], reading: Reading, size: int) -> Iterator[WorkItem]:
    for is_range, blocks in groupby(plan_blocks(sources, block_bytes=size), key=lambda block: block.end is not None):
        if is_range:
            yield from _ranges(blocks, size)
        else:
            texts = chain.from_iterable(_read(block, reading) for block in blocks)
            yield from _portions(texts, size // BYTES_PER_CHARACTER)


def _read(block: Block, reading: Reading) -> Iterator[str]:
    """The texts of a block, with those of rows that have none: whoever turns them into tokens counts them."""
    return read_block(block, reading, keep_empty=block.has_rows)


def num_items(sources: Sequence[Source]) -> int | None:
    """How many items there are, where that is known before reading."""
    if not all(source.splittable for source in sources):
        return None
    return sum(1 for _ in plan(sources, Reading()))


def _bytes_per_shard(sources: Sequence[Source]) -> int:
    total = sum((source.size or 0) * (PACKED if source.compression else 1) for source in sources)
    return max(SMALLEST, total // MOST_SHARDS)


def _ranges(blocks: Iterable[Block], size: int) -> Iterator[WorkItem]:
    """Small files share an item."""
    for some in _grouped(blocks, lambda block: (block.end or 0) - block.start, size):
        yield WorkItem(blocks=some)


def _portions(texts: Iterable[str], num_characters: int) -> Iterator[WorkItem]:
    for some in _grouped(texts, len, num_characters):
        yield WorkItem(texts=some)


def _grouped(items: Iterable[T], size_of: Callable[[T], int], size: int) -> Iterator[tuple[T, ...]]:
    """Consecutive items, each group until it reaches `size`."""
    group: list[T] = []
    reached = 0
    for item in items:
        group.append(item)
        reached += size_of(item)
        if reached >= size:
            yield tuple(group)
            group, reached = [], 0
    if group:
        yield tuple(group)


@contextmanager
def repeatable(sources: Sequence[Source], folder: Path, reading: Reading) -> Iterator[list[Source]]:
    """The sources, those that can be read only once (stdin, pipes) copied to files in `folder` for as long as it lasts.

    What they hold must be known before shards made of it can be found.
    """
    if all(source.repeatable for source in sources):
        yield list(sources)
        return
    spool = _clean_spool(folder)
    try:
        with full_disk_named(folder, "stdin could not be kept there"):
            files = [
                source if source.repeatable else _spooled(source, spool / str(n), reading)
                for n, source in enumerate(sources)
            ]
        yield files
    finally:
        shutil.rmtree(spool, ignore_errors=True)


def _clean_spool(folder: Path) -> Path:
    for stale in folder.glob(".spool.*.tmp"):
        number = stale.name.split(".")[2]
        if number.isdigit() and not process_is_alive(int(number)):
            shutil.rmtree(stale, ignore_errors=True)
    spool = folder / f".spool.{os.getpid()}.tmp"
    spool.mkdir(parents=True, exist_ok=True)
    return spool


def _spooled(source: Source, file: Path, reading: Reading) -> Source:
    opening = open_source(source, encoding=reading.encoding, errors=reading.errors)
    with opening as (opened, stream), file.open("wb") as copy:
        shutil.copyfileobj(stream, copy)
    # What was unpacked and recoded on the way is plain in the copy.
    return replace(
        opened,
        path=str(file),
        size=file.stat().st_size,
        compression=None,
        encoding="utf-8" if opened.is_recoded else opened.encoding,
        is_array=False,
        is_told=True,
    )
