"""A JSON array as JSON lines, while it is read: one element a line, and every line of the file keeps its number.

The elements themselves are not understood here: only strings and brackets are told apart, which is all it takes to
find the commas between elements, and takes constant memory.
"""

from __future__ import annotations

import io
import re
from typing import Any, BinaryIO, cast

from nlpx.errors import InputError

_CHUNK_BYTES = 1 << 16
_MARK = b"\xef\xbb\xbf"
# A whole string; one that the chunk cuts off, or a comma whose line may end in the next chunk; whatever else matters.
_TOKEN = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"|(?P<cut>"[^"\\]*(?:\\.[^"\\]*)*\\?\Z|,[ \t\r]*\Z)|,[ \t\r]*\n|[\[\]{},\n]', re.DOTALL
)


def begins_array(head: bytes) -> bool:
    """Whether text begins with a bracket, whatever its encoding."""
    return head.translate(None, b"\0\xff\xfe\xef\xbb\xbf \t\r\n")[:1] == b"["


class ArrayLines(io.RawIOBase):
    """The elements of one array in UTF-8 as lines. Raises InputError for an array that never ends."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._depth, self._owed = 0, 0  # brackets that are open; line ends inside an element, to be made up for
        self._rest, self._ready, self._at_end = b"", b"", False
        self._is_over = False

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as what has arrived reaches; 0 at the end."""
        while not self._ready and not self._at_end:
            # At least as much again as was left over, so that a long text is not looked through time and again.
            chunk = cast(Any, self._stream).read1(max(_CHUNK_BYTES, len(self._rest)))
            self._at_end = not chunk
            self._ready = self._lines(self._rest + chunk)
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _lines(self, data: bytes) -> bytes:
        if self._depth == 0:
            data = data.removeprefix(_MARK)
        made: list[bytes] = []
        done, end = 0, len(data)
        for found in _TOKEN.finditer(data):
            if found.lastgroup == "cut" and not self._at_end:
                end = found.start()
                break
            if not found.group().startswith(b'"'):
                made += (data[done : found.start()], self._written(found.group()))
                done = found.end()
        self._rest = data[end:]
        made.append(data[done:end])
        if self._at_end and not self._is_over:
            hint = "is the file whole? fetch or write it again"
            raise InputError(f"{self._name}: the JSON array that it begins with never ends", hint=hint)
        return b"".join(made)

    def _written(self, token: bytes) -> bytes:
        num_line_ends = token.count(b"\n")
        if token.startswith(b","):
            return self._comma(num_line_ends)
        if token == b"\n":
            # Inside an element a line end would cut it: it is made up for behind the element, so that numbers hold.
            self._owed += self._depth > 1
            return b" " if self._depth > 1 else b"\n"
        before, opens = self._depth, token in b"[{"
        self._depth += 1 if opens else -1
        if token == b"[" and before == 0 and not self._is_over:
            return b" "
        if token == b"]" and before == 1 and not self._is_over:
            self._is_over = True
            return b"\n"  # what follows is a line of its own, and refused as what it is
        return token

    def _comma(self, num_line_ends: int) -> bytes:
        if self._depth > 1:
            self._owed += num_line_ends
            return b", "
        if self._depth < 1:  # behind the array: JSON no longer, and refused as such
            return b"," + b"\n" * num_line_ends
        owed, self._owed = self._owed, 0
        return b"\n" * max(1, owed + num_line_ends)
