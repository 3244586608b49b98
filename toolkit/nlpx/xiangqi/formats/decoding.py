"""From bytes to lines of text where the encoding is not given: UTF-8, GB18030 or Big5, as Chinese records come."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from nlpx.data.rows.lines import check_encoding

AUTO = "auto"
_NUM_HEAD_BYTES = _NUM_BLOCK_BYTES = 1 << 20
_CANDIDATES = ("gb18030", "big5hkscs", "utf-8")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_NOTATION_CHARACTERS = "进退平進车車马馬炮砲兵卒相象仕士帅帥将將"


def text_lines(stream: BinaryIO, encoding: str = AUTO) -> tuple[str, Iterator[str]]:
    """Return the encoding of a stream and its lines; undecodable bytes become U+FFFD, which no move contains.

    `auto` tells it by a byte order mark, else by the first mebibyte. Raises UsageError for an unknown encoding.
    """
    if encoding != AUTO:
        check_encoding(encoding)
    head = stream.read(_NUM_HEAD_BYTES)
    found = _by_mark(head) or (detect_encoding(head) if encoding == AUTO else encoding)
    if found == "utf-16":  # a line end is two bytes there: taken as a whole
        return found, iter((head + stream.read()).decode(found, "replace").splitlines(keepends=True))
    return found, _lines(head, stream, found)


def _by_mark(head: bytes) -> str | None:
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)


def detect_encoding(head: bytes) -> str:
    """Return what the beginning of a file is: UTF-8 if valid, else where most characters of moves come out."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return max(_CANDIDATES, key=lambda name: _num_notation_characters(head.decode(name, "replace")))
    return "utf-8"


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
