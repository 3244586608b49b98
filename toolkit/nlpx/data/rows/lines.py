"""From a stream to lines of text: decoding, where each line stands, and what becomes of lines that do not fit.

Lines are split while still bytes, so that a row which is not UTF-8 can be named by line and byte, and so that
the first row of a slow pipe is handed on as soon as it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from nlpx.data.opening.compression import is_reading_error, unpacking_error
from nlpx.data.opening.encodings import SAMPLE_BYTES, hint_of_nul, undecodable
from nlpx.data.opening.refusals import NUL, SKIP_HINT, bad_row
from nlpx.errors import InputError

NUM_KEPT_ERRORS = 5
_MARK = b"\xef\xbb\xbf"


@dataclass(slots=True)
class RowReport:
    """What reading met: rows handed on, empty lines and rows without text, bad rows and the messages of the first."""

    num_rows: int = 0
    num_empty: int = 0
    num_skipped: int = 0
    num_without_text: int = 0
    errors: list[str] = field(default_factory=list)

    def add_skipped(self, error: InputError) -> None:
        """Count a bad row that was left out; the first few messages are kept."""
        self.num_skipped += 1
        if len(self.errors) < NUM_KEPT_ERRORS:
            self.errors.append(error.message)


@dataclass(slots=True)
class Lines:
    """Iterates over (number, text) of the lines of a byte stream; knows where it stands.

    Empty lines are counted and left out unless `keep_empty`. With `header` the first line is never skipped.
    """

    stream: Any
    name: str
    encoding: str
    report: RowReport
    skip: bool
    header: bool = False
    keep_empty: bool = False
    number: int = 0
    offset: int = 0
    first_error: InputError | None = None

    def place(self, number: int) -> str:
        """Where a line stands, such as `rows.jsonl:12`."""
        return f"{self.name}:{number}"

    def refuse(self, error: InputError) -> None:
        """Raise the error of one row, or count it where bad rows are to be skipped."""
        if not self.skip or (self.header and self.number == 1):
            raise error
        self.first_error = self.first_error or error
        self.report.add_skipped(error)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for raw in self._raw_lines():
            self.number += 1
            try:
                text = self._decode(raw)
            except InputError as error:
                self.refuse(error)
                continue
            finally:
                self.offset += len(raw)
            if text.strip() or self.keep_empty:
                yield self.number, text
            else:
                self.report.num_empty += 1

    def _raw_lines(self) -> Iterator[bytes]:
        try:
            # readline, not iteration: it returns what a pipe has delivered so far.
            yield from iter(self.stream.readline, b"")
        except Exception as error:
            if not is_reading_error(error):
                raise
            raise unpacking_error(error, self.name, line=self.number, num_bytes=self.offset) from None

    def _decode(self, raw: bytes) -> str:
        if self.number == 1:
            raw = raw.removeprefix(_MARK)
        try:
            text = raw.decode(self.encoding)
        except UnicodeDecodeError as error:
            self._refuse_bytes(raw, error)
        if self.number == 1:
            text = text.removeprefix("\ufeff")  # GB18030 has a byte-order mark of its own
        if "\0" in text:
            hint = hint_of_nul(self._sample(raw), SKIP_HINT)
            raise bad_row(self.place(self.number), f"holds {NUL}", row=text, hint=hint)
        return text.rstrip("\r\n")

    def _refuse_bytes(self, raw: bytes, error: UnicodeDecodeError) -> NoReturn:
        raise undecodable(
            error,
            place=self.place(self.number),
            offset=self.offset,
            row=raw.rstrip(b"\r\n"),
            sample=self._sample(raw),
            encoding=self.encoding,
            hint=SKIP_HINT,
        ) from None

    def _sample(self, raw: bytes) -> bytes:
        """The line and, where reading ends with it, what follows: more tells the encoding better."""
        if self.skip:
            return raw
        try:
            return raw + bytes(self.stream.read1(SAMPLE_BYTES))
        except Exception as error:
            if not is_reading_error(error):
                raise
            return raw
