"""Whole lines of a source, still bytes: read as one range or one after another, decoded with errors by line and byte.

A line end is the byte 0x0A, which no admitted encoding uses for anything else, so pieces can be split before decoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from nlpx.data.opening.compression import is_reading_error, unpacking_error
from nlpx.data.opening.encodings import check_encoding, hint_of_nul, undecodable
from nlpx.data.opening.magic import compression_of_bytes
from nlpx.data.opening.refusals import NUL, bad_row
from nlpx.data.opening.sources import Source
from nlpx.data.opening.streams import open_source, open_stream
from nlpx.errors import InputError, UsageError

PIECE_BYTES = 1 << 20
# Longer than any document; without a limit, a file that is no text would fill the memory in search of a line end.
LONGEST_LINE = 1 << 30
DECODING_HINT = "name the right encoding with `--encoding`; or go on with `--errors replace`"
_MARK = b"\xef\xbb\xbf"
_LINE_ENDS = b"\n" * 4  # as many bytes as a character may have


@dataclass(frozen=True)
class Reading:
    """How texts are read: the field that holds them in rows, the encoding, what becomes of bytes that break it."""

    field: str = "text"
    encoding: str = "utf-8"
    errors: Literal["strict", "replace"] = "strict"

    def check(self) -> None:
        """Raise UsageError for an unknown encoding or policy, and for encodings with line ends of their own."""
        if self.encoding != "utf-8":
            check_encoding(self.encoding)
        if self.errors not in ("strict", "replace"):
            raise UsageError(f"unknown policy `{self.errors}` for broken bytes", hint="policies: strict, replace")


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines; `start` is their place in the unpacked stream, `line` the number of the first (None: not known)."""

    source: Source
    data: bytes
    start: int
    line: int | None

    def refuse(self, index: int, what: str, *, row: str | None = None, hint: str = DECODING_HINT) -> InputError:
        """Return the error for a line: its place, what is wrong, how it begins, the way out."""
        return bad_row(self.place(index), what, row=row, hint=hint)

    def place(self, index: int) -> str:
        """Where a line of the piece stands, such as `corpus.txt:12`; `index` counts from 0."""
        # Lines before a range in the middle of a file are only counted when an error has to name one.
        first = _number_of_lines_before(self.source, self.start) + 1 if self.line is None else self.line
        return f"{self.source.name}:{first + index}"

    def decode(self, reading: Reading) -> str:
        """Return the text with `\\n` as its only line end. Raises InputError for bytes that are no text."""
        encoding = self.source.lines_encoding(reading.encoding)
        if reading.errors == "replace":
            return self._plain(_replaced(self.data, encoding), reading)
        try:
            text = self.data.decode(encoding)
        except UnicodeDecodeError as error:
            self._refuse_bytes(error, reading)
        return self._plain(text, reading)

    def _plain(self, text: str, reading: Reading) -> str:
        if self.start == 0:
            text = text.removeprefix("\ufeff")  # GB18030 has a byte-order mark of its own
        if "\0" in text:
            text = self._without_nul(text, reading)
        if "\r" in text:
            text = text.replace("\r\n", "\n").removesuffix("\r")
        return text

    def _without_nul(self, text: str, reading: Reading) -> str:
        if reading.errors == "replace":
            return text.replace("\0", "\ufffd")
        before = text.index("\0")
        row = text[text.rfind("\n", 0, before) + 1 :].split("\n", 1)[0]
        hint = hint_of_nul(self.data, DECODING_HINT)
        raise self.refuse(text.count("\n", 0, before), f"holds {NUL}", row=row, hint=hint)

    def _refuse_bytes(self, error: UnicodeDecodeError, reading: Reading) -> NoReturn:
        data, at = self.data, error.start
        raise undecodable(
            error,
            place=self.place(data.count(b"\n", 0, at)),
            offset=self.start,
            row=data[data.rfind(b"\n", 0, at) + 1 :].split(b"\n", 1)[0],
            sample=data,
            encoding=self.source.lines_encoding(reading.encoding),
            hint=DECODING_HINT,
        ) from None


def _replaced(data: bytes, encoding: str) -> str:
    # At the end of its data a decoder takes a character that was cut off for one broken one, elsewhere for several:
    # with lines behind it the end of a piece is a place like any other, and every division gives the same text.
    return (data + _LINE_ENDS).decode(encoding, "replace")[: -len(_LINE_ENDS)]


def read_pieces(source: Source, reading: Reading, *, piece_bytes: int = PIECE_BYTES) -> Iterator[Piece]:
    """Yield a whole source as pieces of about `piece_bytes`, the same ones each time.

    Raises InputError for what cannot be opened or unpacked; it says how far reading came.
    """
    start, line = 0, 1
    with open_source(source, encoding=reading.encoding, errors=reading.errors) as (source, stream):
        while data := _read_lines(stream, source, piece_bytes, start, line):
            yield _piece(source, data, start, line)
            start += len(data)
            line += data.count(b"\n")


def _read_lines(stream: Any, source: Source, size: int, start: int, line: int) -> bytes:
    chunks: list[bytes] = []
    try:
        # One system call at a time, so that what was read before a break is known.
        while size > 0 and (chunk := stream.read1(size)):
            chunks.append(chunk)
            size -= len(chunk)
        if chunks and not chunks[-1].endswith(b"\n"):
            chunks.append(_rest_of_line(stream, source, start))
    except Exception as error:
        if not is_reading_error(error):
            raise
        read = b"".join(chunks)
        lines = line - 1 + read.count(b"\n")
        raise unpacking_error(error, source.name, line=lines, num_bytes=start + len(read)) from None
    return b"".join(chunks)


def _rest_of_line(stream: Any, source: Source, start: int) -> bytes:
    rest: bytes = stream.readline(LONGEST_LINE)
    if len(rest) == LONGEST_LINE and not rest.endswith(b"\n"):
        what = f"a line of more than {LONGEST_LINE >> 30} GiB near byte {start}"
        raise InputError(f"{source.name}: {what}", hint="is this a text file? one text a line is expected")
    return rest


def read_range(source: Source, start: int, end: int) -> Piece:
    """Return the lines whose first byte lies in [start, end) of a splittable source; the last one may reach beyond.

    Raises InputError if the source has become shorter than `end`.
    """
    try:
        with open_stream(source) as stream:
            first = _next_line_start(stream, start, end)
            stream.seek(first)
            data: bytes = stream.read(end - first)
            if len(data) < end - first:
                raise InputError(f"{source.name} became shorter while it was read", hint="start again")
            if data and not data.endswith(b"\n"):
                data += _rest_of_line(stream, source, first)
    except OSError as error:
        raise unpacking_error(error, source.name, line=None, num_bytes=start) from None
    return _piece(source, data, first, 1 if first == 0 else None)


def _next_line_start(stream: Any, start: int, end: int) -> int:
    if start == 0:
        return 0
    stream.seek(start - 1)  # a line begins at `start` if the byte before it is a line end
    skipped: bytes = stream.readline(end - start + 1)
    return start - 1 + len(skipped) if skipped.endswith(b"\n") else end


def _piece(source: Source, data: bytes, start: int, line: int | None) -> Piece:
    if start > 0:
        return Piece(source, data, start, line)
    packed = compression_of_bytes(data)
    if packed is not None:  # behind a URL, where nobody looked before
        hint = f"unpack it first; or give it the suffix .{packed}"
        raise InputError(f"{source.name}: compressed data (.{packed}) where text belongs", hint=hint)
    without_mark = data.removeprefix(_MARK)
    return Piece(source, without_mark, len(data) - len(without_mark), line)


def _number_of_lines_before(source: Source, end: int) -> int:
    count = 0
    with open_stream(source) as stream:
        while end > 0 and (chunk := stream.read(min(end, PIECE_BYTES))):
            count += chunk.count(b"\n")
            end -= len(chunk)
    return count
