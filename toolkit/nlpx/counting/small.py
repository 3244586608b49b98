"""Words of a small plain text, without what it takes to count large ones.

Most of the time of such a count is the start of the process, so this imports as little as it can, and leaves to the
engine whatever needs a closer look: other encodings and formats, folders and streams, everything that is wrong.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from itertools import islice

from nlpx.counting.segmentation.segmenters import build_word_segmenter

LARGEST = 1 << 17  # bytes
# What is always read as plain lines, and what else may begin with although it reads as text: the engine looks closer.
_PLAIN_SUFFIXES = ("", ".txt")
_NOT_PLAIN = ("BZh", "PAR1", "PK", "%PDF", "Rar!", "<", "version https://git-lfs")


class SmallCounts:
    """As `nlpx.counting.counts.Counts`, all of it in memory; a context because that is one."""

    def __init__(self, table: dict[str, int], *, num_texts: int, num_bytes: int, segmenter: str) -> None:
        self.table = table
        self.total, self.distinct = sum(table.values()), len(table)
        self.num_texts, self.num_bytes, self.segmenter = num_texts, num_bytes, segmenter
        self.num_empty = 0  # of rows, and these are plain lines

    def ranked(self, top: int | None = None, min_count: int = 1) -> Iterator[tuple[str, int]]:
        """Yield keys and counts by descending count, equal ones by code point."""
        rows = sorted(self.table.items(), key=lambda row: (-row[1], row[0]))
        return islice((row for row in rows if row[1] >= min_count), top)

    def __enter__(self) -> SmallCounts:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to remove."""


def count_small(paths: Sequence[str], *, hmm: bool, user_dictionary: str | None) -> SmallCounts | None:
    """Count the words of some small files of UTF-8 lines; None if they are not just that.

    Raises what the user dictionary raises.
    """
    texts, num_bytes = [], 0
    for path in paths:
        data = _plain_bytes(path, LARGEST - num_bytes)
        text = None if data is None else _plain_text(data)
        if data is None or text is None:
            return None
        texts.append(text)
        num_bytes += len(data)
    segmenter = build_word_segmenter("auto", hmm=hmm, user_dictionary=user_dictionary)
    table: dict[str, int] = {}
    for text in texts:
        segmenter.count(text, table)
    segmenter.settle(table)
    num_texts = sum(1 for text in texts for line in text.split("\n") if line and not line.isspace())
    return SmallCounts(table, num_texts=num_texts, num_bytes=num_bytes, segmenter=segmenter.name)


def _plain_bytes(path: str, most: int) -> bytes | None:
    if path == "-" or os.path.splitext(path)[1] not in _PLAIN_SUFFIXES:  # noqa: PTH122
        return None
    try:
        facts = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > most:
            return None
        with open(path, "rb") as stream:  # noqa: PTH123
            data = stream.read(most + 1)
    except OSError:
        return None
    return data if len(data) <= most else None


def _plain_text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if "\0" in text or text.startswith(_NOT_PLAIN):
        return None
    return text.removeprefix("\ufeff").replace("\r\n", "\n")
