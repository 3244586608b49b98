"""Streams of a source: opened once, unpacked, recoded where a line end would be more than one byte."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from nlpx.data.opening.arrays import ArrayLines
from nlpx.data.opening.compression import is_reading_error, unpack, unpacking_error
from nlpx.data.opening.encodings import AUTO, SAMPLE_BYTES, Recoded
from nlpx.data.opening.magic import LEAST_HEAD, compression_of_bytes
from nlpx.data.opening.remote import is_url, open_url
from nlpx.data.opening.sources import Source, settled
from nlpx.errors import InputError
from nlpx.notes import note

_BUFFER_BYTES = 1 << 16


class Opened(NamedTuple):
    """A source with all that its first bytes told about it, and the stream of its lines."""

    source: Source
    stream: Any


@contextmanager
def open_source(source: Source, *, encoding: str = "utf-8", errors: str = "strict") -> Iterator[Opened]:
    """Open a source once, from its beginning, as a buffered stream of lines that end with the byte 0x0A.

    Packed data is unpacked, UTF-16 and UTF-32 become UTF-8, a JSON array one element a line. `encoding` is what was
    asked for; `Opened.source.lines_encoding` says what the lines are in. Raises InputError for what cannot be opened
    or is no text, MachineError for a missing package or a network that fails.
    """
    with _stored(source) as stored:
        source, stored = _unpacked_by_content(source, stored)
        with _reading_named(source):
            unpacked = unpack(stored, source.compression)
        try:
            yield _as_lines(source, unpacked, encoding, errors)
        finally:
            if unpacked is not stored:
                unpacked.close()


@contextmanager
def open_stream(source: Source) -> Iterator[Any]:
    """Open a source as it is but unpacked, with its first bytes unread: to be copied, or read from any place."""
    with _stored(source) as stored:
        if source.size is None:
            source, stored = _unpacked_by_content(source, stored)
        with _reading_named(source):
            unpacked = unpack(stored, source.compression)
        yield unpacked


@contextmanager
def _stored(source: Source) -> Iterator[BinaryIO]:
    if source.path == "-":
        yield cast(BinaryIO, sys.stdin.buffer)  # left open: it is not ours
        return
    with _opened_remote(source) if is_url(source.path) else _opened_local(source) as stream:
        yield stream


def _opened_remote(source: Source) -> BinaryIO:
    remote = open_url(source.path, by_parts=source.size is not None)
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, remote)))


def _opened_local(source: Source) -> BinaryIO:
    try:
        return Path(source.path).open("rb")
    except OSError as error:
        raise InputError(f"{source.name} cannot be opened: {error.strerror}") from None


@contextmanager
def _reading_named(source: Source) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not is_reading_error(error):
            raise
        raise unpacking_error(error, source.name, line=0, num_bytes=0) from None


def _unpacked_by_content(source: Source, stored: BinaryIO) -> tuple[Source, BinaryIO]:
    """What a pipe or a URL is packed with, which only its bytes tell; of files `find_sources` knows."""
    if source.is_told or source.compression is not None or source.format == "parquet":
        return source, stored
    with _reading_named(source):
        head, stored = _peek(stored)
    return replace(source, compression=compression_of_bytes(head)), stored


def _as_lines(source: Source, stream: BinaryIO, encoding: str, errors: str) -> Opened:
    if source.format == "parquet":
        return Opened(source, stream)
    if not source.is_told or source.compression is not None:
        with _reading_named(source):
            head, stream = _peek(stream, in_full=encoding == AUTO)
        source = settled(source, head, encoding)
        if source.encoding is not None:
            note(f"{source.name}: encoding {source.encoding}")
    if not source.is_recoded:
        return Opened(source, stream)
    stored_in = source.encoding or encoding
    raw: Any = Recoded(stream, stored_in, errors=errors, name=source.name) if stored_in != "utf-8" else stream
    if source.is_array:
        raw = ArrayLines(raw if raw is stream else _buffered(raw), source.name)
    return Opened(source, _buffered(raw))


def _buffered(raw: Any) -> Any:
    return io.BufferedReader(raw, buffer_size=_BUFFER_BYTES)


def _peek(stream: BinaryIO, *, in_full: bool = False) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, and the stream with them still in it.

    Of a pipe a line or some hundred bytes, so that a slow writer is answered soon; `in_full`: a whole sample.
    """
    head = b""
    while len(head) < (SAMPLE_BYTES if in_full else LEAST_HEAD) and (in_full or b"\n" not in head):
        chunk = cast(Any, stream).read1(SAMPLE_BYTES)
        if not chunk:
            break
        head += chunk
    return head, cast(BinaryIO, _buffered(_Prefixed(head, stream)))


class _Prefixed(io.RawIOBase):
    """Bytes that were read already, and then the rest of the stream they come from."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as what has arrived reaches; 0 at the end."""
        data = self._head[: len(buffer)] or cast(Any, self._rest).read1(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)
