"""From bytes to lines of text where the encoding is not told, as Chinese records come: moves tell it too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from nlpx.data.opening.encodings import AUTO, by_mark, check_encoding, detect, is_wide

_NUM_HEAD_BYTES = _NUM_BLOCK_BYTES = 1 << 20
_CANDIDATES = ("gb18030", "big5hkscs", "utf-8")
_NOTATION_CHARACTERS = "进退平进車车马馬炮砲兵卒相象仕士帅帥将將"


def text_lines(stream: BinaryIO, encoding: str = AUTO) -> tuple[str, Iterator[str]]:
    """Return the encoding of a stream and its lines; undecodable bytes become U+FFFD, which no move contains.

    `auto` tells it by a byte order mark, else by the first mebibyte. Raises UsageError for an unknown encoding.
    """
    if encoding != AUTO:
        check_encoding(encoding)
    head = stream.read(_NUM_HEAD_BYTES)
    marked = by_mark(head)
    found = marked or (detect_encoding(head) if encoding == AUTO else encoding)
    if marked == "utf-8":
        found = "utf-8-sig"
    if is_wide(found):  # a line end is two bytes there: taken as a whole
        return found, iter((head + stream.read()).decode(found, "replace").splitlines(keepends=True))
    return found, _lines(head, stream, found)


def detect_encoding(head: bytes) -> str:
    """Return what the beginning of a file is: what its characters surely tell, else where most moves come out."""
    found = detect(head)
    if found is None:
        return max(_CANDIDATES, key=lambda name: _num_notation_characters(head.decode(name, "replace")))
    return found


def _num_notation_characters(text: str) -> int:
    return sum(text.count(character) for character in _NOTATION_CHARACTERS)


def _lines(head: bytes, stream: BinaryIO, encoding: str) -> Iterator[str]:
    """Decode whole blocks, which is several times as fast as line by line, and split them into lines."""
    block = head
    while block:
        text = (block + stream.readline()).decode(encoding, "replace")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        yield from (line + "\n" for line in lines[:-1])
        if lines[-1]:
            yield lines[-1]
        block = stream.read(_NUM_BLOCK_BYTES)
