"""A corpus as texts: whole, by byte ranges that workers share out, or by parts of one compressed file.

A text is one line of plain text, or the field of one row. A range owns the texts whose first byte lies in it, so any
division of a file into ranges gives each text exactly once and never a part of one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from nlpx.data.corpus.fields import Header, csv_texts, json_texts, plain_texts, tsv_header, tsv_texts
from nlpx.data.corpus.parquet import parquet_texts
from nlpx.data.corpus.pieces import PIECE_BYTES, Piece, Reading, read_pieces, read_range
from nlpx.data.opening.sources import FORMATS, Source, TextFormat, find_sources
from nlpx.data.opening.streams import open_source

__all__ = [
    "FORMATS",
    "Block",
    "Reading",
    "Source",
    "TextFormat",
    "find_sources",
    "plan_blocks",
    "read_block",
    "read_part",
    "read_raw_block",
    "read_raw_part",
    "read_texts",
]

_CSV_CHUNK_ROWS = 1000


@dataclass(frozen=True)
class Block:
    """The bytes [start, end) of a source, unpacked; `end` None: to its end. `index` counts over a whole plan."""

    source: Source
    index: int
    start: int
    end: int | None

    @property
    def has_rows(self) -> bool:
        """Whether each of its texts is part of a row, which is there even where its text is null or empty."""
        return self.source.format != "txt"


def plan_blocks(sources: Sequence[Source], *, block_bytes: int) -> list[Block]:
    """Divide sources into blocks of at most `block_bytes`; what cannot be divided is one block. Reads nothing."""
    blocks: list[Block] = []
    for source in sources:
        if not source.splittable or source.size is None:
            blocks.append(Block(source, len(blocks), 0, None))
            continue
        for start in range(0, source.size, block_bytes):
            blocks.append(Block(source, len(blocks), start, min(start + block_bytes, source.size)))
    return blocks


def read_block(block: Block, reading: Reading, *, keep_empty: bool = False) -> Iterator[str]:
    """Yield the texts whose first byte lies in a block. Raises InputError by file, line and byte."""
    if block.end is None:
        yield from read_texts(block.source, reading, keep_empty=keep_empty)
        return
    reading.check()
    piece = read_range(block.source, block.start, block.end)
    header = _header(block.source, reading) if piece.data and block.source.format == "tsv" else None
    yield from _texts(piece, reading, header, keep_empty=keep_empty)


def read_raw_block(block: Block, reading: Reading) -> str:
    """Return the whole lines of a block of plain text as one string with `\\n` line ends, empty lines included.

    A block without an end is read into memory whole; `read_raw_part` reads such a source piece by piece.
    """
    if block.end is None:
        return "".join(read_raw_part(block.source, reading))
    reading.check()
    return read_range(block.source, block.start, block.end).decode(reading)


def read_texts(source: Source, reading: Reading, *, keep_empty: bool = False) -> Iterator[str]:
    """Yield the texts of a whole source in constant memory, of stdin as they come; `keep_empty`: empty ones too."""
    return read_part(source, reading, keep_empty=keep_empty)


def read_part(
    source: Source,
    reading: Reading,
    *,
    part: int = 0,
    num_parts: int = 1,
    block_bytes: int = PIECE_BYTES,
    keep_empty: bool = False,
) -> Iterator[str]:
    """Yield the texts of the pieces `part`, `part + num_parts`, ... of a source that cannot be divided into ranges.

    Every reader unpacks all of it, but decodes only its own pieces of about `block_bytes`, which are the same for
    all; of CSV, pieces of rows, and of Parquet, row groups. Together the parts give each text exactly once.
    """
    reading.check()
    if source.format == "parquet":
        yield from parquet_texts(source, reading, part=part, num_parts=num_parts, keep_empty=keep_empty)
    elif source.format == "csv":
        texts = csv_texts(read_pieces(source, reading, piece_bytes=block_bytes), source, reading, keep_empty=keep_empty)
        yield from _every(texts, part, num_parts)
    else:
        header = None
        for index, piece in enumerate(read_pieces(source, reading, piece_bytes=block_bytes)):
            if source.format == "tsv" and header is None:
                header = _header(source, reading, piece)
            if index % num_parts == part:
                yield from _texts(piece, reading, header, keep_empty=keep_empty)


def _header(source: Source, reading: Reading, piece: Piece | None = None) -> Header | None:
    """The columns of a TSV table: of one that can be opened again the same for all its readers; else of a piece."""
    if piece is not None and not source.repeatable:
        return tsv_header(io.BytesIO(piece.data), piece.source, reading, start=piece.start, line=piece.line or 1)
    with open_source(source, encoding=reading.encoding, errors=reading.errors) as (opened, stream):
        return tsv_header(stream, opened, reading)


def _every(texts: Iterator[str], part: int, num_parts: int) -> Iterator[str]:
    index = 0
    while chunk := list(islice(texts, _CSV_CHUNK_ROWS)):
        if index % num_parts == part:
            yield from chunk
        index += 1


def read_raw_part(
    source: Source, reading: Reading, *, part: int = 0, num_parts: int = 1, block_bytes: int = PIECE_BYTES
) -> Iterator[str]:
    """Yield the own pieces of plain text as `read_part` does, each as one string of whole lines."""
    reading.check()
    for index, piece in enumerate(read_pieces(source, reading, piece_bytes=block_bytes)):
        if index % num_parts == part:
            yield piece.decode(reading)


def _texts(piece: Piece, reading: Reading, header: Header | None, *, keep_empty: bool = False) -> Iterator[str]:
    if piece.source.format == "jsonl":
        return json_texts(piece, reading, keep_empty=keep_empty)
    if piece.source.format == "tsv":
        return tsv_texts(piece, reading, header, keep_empty=keep_empty) if header is not None else iter(())
    return plain_texts(piece.decode(reading), keep_empty=keep_empty)
