"""The work of a count in portions: which there are, and how one is read as texts of whole lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nlpx.data.corpus.fields import json_texts, plain_texts
from nlpx.data.corpus.pieces import Piece, read_pieces
from nlpx.data.corpus.texts import (
    Block,
    Reading,
    Source,
    plan_blocks,
    read_block,
    read_part,
    read_raw_block,
    read_raw_part,
)

if TYPE_CHECKING:
    from nlpx.counting.settings import CountSettings

# Characters counted between two looks at the size of the table.
PIECE_CHARACTERS = 1 << 17
LEAST_BLOCK = 1 << 18  # bytes: smaller blocks cost more in handling than they gain in balance
LARGEST_BLOCK = 1 << 20  # bytes: what a killed worker has to count again stays small
# What a packed byte of text is when it is unpacked, about.
PACKED_RATIO = 3
# From this size on it pays that every worker unpacks the file for itself.
_LEAST_SHARED = 1 << 20
_TEXTS_AT_ONCE = 1000  # rows that are joined into one text for the counters


@dataclass(frozen=True)
class WorkItem:
    """A block of a source, or every `num_parts`-th piece of one that cannot be divided, or a piece of a stream."""

    index: int
    block: Block
    part: int = 0
    num_parts: int = 1
    piece: Piece | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of the source it stands for, as stored."""
        if self.piece is not None:
            return len(self.piece.data)
        if self.block.end is not None:
            return self.block.end - self.block.start
        return (self.block.source.size or 0) // self.num_parts

    @property
    def is_open_ended(self) -> bool:
        """Whether it is not known how many bytes of text it holds."""
        return self.block.end is None

    @property
    def place(self) -> str:
        """Where it lies, for messages."""
        name = self.block.source.name
        if self.block.end is not None:
            return f"{name}, bytes {self.block.start:,} to {self.block.end:,}"
        return f"{name}, part {self.part + 1} of {self.num_parts}" if self.num_parts > 1 else name

    def without_text(self) -> WorkItem:
        """The same without what was read from a stream."""
        return replace(self, piece=None)


Texts = Iterator[tuple[str, int, int]]  # some texts joined, how many they are, and rows without one among them
Reader = Callable[[WorkItem, Reading], Texts]


def plan_work(sources: Sequence[Source], *, block_bytes: int, num_parts: int) -> list[WorkItem]:
    """Tasks for sources that can be opened by any process. Reads nothing.

    Those that cannot be divided into blocks are shared by `num_parts` readers if they are large.
    """
    items: list[WorkItem] = []
    for block in plan_blocks(sources, block_bytes=block_bytes):
        shared = block.end is None and (block.source.size or _LEAST_SHARED) >= _LEAST_SHARED
        parts = num_parts if shared else 1
        items += [WorkItem(len(items) + part, block, part, parts) for part in range(parts)]
    return items


def stream_work(sources: Sequence[Source], reading: Reading, *, first: int) -> Iterator[WorkItem]:
    """Tasks for what can be read only once: lines are handed on as they come, tables are left to one reader."""
    index = first
    for source in sources:
        if source.format not in ("txt", "jsonl"):
            yield WorkItem(index, Block(source, index, 0, None))
            index += 1
            continue
        reading.check()
        for piece in read_pieces(source, reading):
            yield WorkItem(index, Block(source, index, piece.start, piece.start + len(piece.data)), piece=piece)
            index += 1


def choose_block_bytes(sources: Sequence[Source], settings: CountSettings) -> int:
    """The size of blocks: as asked for, or so that every worker gets several of them."""
    if settings.block_bytes is not None:
        return settings.block_bytes
    size = sum(source.size or 0 for source in sources if source.splittable)
    return min(max(size // (8 * settings.num_workers), LEAST_BLOCK), LARGEST_BLOCK)


def choose_num_parts(sources: Sequence[Source], settings: CountSettings) -> int:
    """How many readers share a file that cannot be divided; characters are counted faster than anything unpacks."""
    whole = [source for source in sources if not source.splittable]
    if settings.unit == "char" or len(whole) >= 2 * settings.num_workers:
        return 1
    return settings.num_workers


def read_item(item: WorkItem, reading: Reading) -> Texts:
    """Yield the texts of an item, joined to some hundred thousand characters of whole lines, and how many they are.

    With them how many rows had no text, because it was null or empty.
    """
    source, block, piece = item.block.source, item.block, item.piece
    if source.format != "txt":
        return _joined(_row_texts(item, reading))
    if piece is not None:
        return _pieces([piece.decode(reading)])
    if block.end is not None:
        return _pieces([read_raw_block(block, reading)])
    return _pieces(read_raw_part(source, reading, part=item.part, num_parts=item.num_parts))


def _row_texts(item: WorkItem, reading: Reading) -> Iterator[str]:
    if item.piece is not None:
        return json_texts(item.piece, reading, keep_empty=True)
    if item.block.end is not None:
        return read_block(item.block, reading, keep_empty=True)
    return read_part(item.block.source, reading, part=item.part, num_parts=item.num_parts, keep_empty=True)


def _pieces(texts: Iterable[str]) -> Texts:
    for text in texts:
        begin = 0
        while begin < len(text):
            end = text.find("\n", begin + PIECE_CHARACTERS) + 1 or len(text)
            piece = text[begin:end] if end - begin < len(text) else text
            yield piece, sum(1 for _ in plain_texts(piece)), 0
            begin = end


def _joined(texts: Iterator[str]) -> Texts:
    waiting: list[str] = []
    size = num_empty = 0
    for text in texts:
        if not text or text.isspace():
            num_empty += 1
            continue
        waiting.append(text)
        size += len(text)
        if size >= PIECE_CHARACTERS or len(waiting) >= _TEXTS_AT_ONCE:
            yield "\n".join(waiting), len(waiting), num_empty
            waiting, size, num_empty = [], 0, 0
    if waiting or num_empty:
        yield "\n".join(waiting), len(waiting), num_empty
