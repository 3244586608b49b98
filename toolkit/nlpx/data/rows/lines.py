"""From a file or stdin to lines of text: opening, unpacking, decoding; each refusal names line and byte.

Lines are split while still bytes, so that a row which is not UTF-8 can be named by line and byte, and so that
the first row of a slow pipe is handed on as soon as it arrives.
"""

from __future__ import annotations

import bz2
import codecs
import difflib
import gzip
import json
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from nlpx.errors import InputError, UsageError

OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz"}
UNPACK = {".gz": "gzip -dc", ".bz2": "bzip2 -dc", ".xz": "xz -dc"}
WIDE_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SKIP_HINT = "correct the row, or leave such rows out with `--on-bad-row skip`"
EXCERPT_LENGTH = 60
NUM_KEPT_ERRORS = 5


@dataclass(slots=True)
class RowReport:
    """What reading met: rows handed on, empty lines, skipped bad rows and the messages of the first few."""

    num_rows: int = 0
    num_empty: int = 0
    num_skipped: int = 0
    errors: list[str] = field(default_factory=list)

    def add_skipped(self, error: InputError) -> None:
        """Count a bad row that was left out; the first few messages are kept."""
        self.num_skipped += 1
        if len(self.errors) < NUM_KEPT_ERRORS:
            self.errors.append(error.message)


def bad_row(place: str, what: str, *, row: object = None, hint: str = SKIP_HINT) -> InputError:
    """Return the error for one row: place, what is wrong, the first 60 characters, the way out."""
    shown = row if isinstance(row, str) or row is None else json.dumps(row, ensure_ascii=False, default=str)
    return InputError(f"{place}: {what}" + (f": {excerpt(shown)}" if shown else ""), hint=hint)


def excerpt(text: str) -> str:
    """Return the first 60 characters of a row, control characters and surrogates escaped."""
    head = text[:EXCERPT_LENGTH]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in head)
    return safe + ("…" if len(text) > EXCERPT_LENGTH else "")


def check_encoding(encoding: str) -> None:
    """Raise UsageError for an unknown encoding and for one in which a line end is not a single byte."""
    try:
        canonical = codecs.lookup(encoding).name
    except LookupError:
        hint = "for example `--encoding utf-8` or `--encoding gb18030`"
        raise UsageError(f"unknown encoding `{encoding}`", hint=hint) from None
    if canonical.startswith(("utf-16", "utf-32")):
        hint = f"convert first: iconv -f {canonical} -t utf-8 FILE | ... -"
        raise UsageError(f"encoding `{encoding}` cannot be read line by line", hint=hint)


def open_source(source: str | Path) -> tuple[str, BinaryIO]:
    """Open a file (unpacked if it is packed) or stdin (`-`) as bytes; returns its name for messages, and the stream."""
    if str(source) == "-":
        return "stdin", sys.stdin.buffer
    path = Path(source)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file of rows", hint="name one of the files in it")
    try:
        return str(path), _open_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", hint=near_files(path)) from None
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from None


def _open_file(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        head = stream.read(6)
    # By content as well as by name: a renamed archive is still readable, and the name alone may be wrong.
    packed = next((suffix for magic, suffix in MAGIC.items() if head.startswith(magic)), path.suffix.lower())
    if head and packed in OPENERS:
        return cast(BinaryIO, OPENERS[packed](path))
    return path.open("rb")


def near_files(path: Path) -> str:
    """Return the way out for a missing file: near names in its folder, if there is one."""
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist either"
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(f"`{folder / name}`" for name in near) + "?"
    return f"{folder} holds: " + (", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "nothing")


@dataclass(slots=True)
class Lines:
    """Iterates over (number, text) of the lines of a byte stream; knows where it stands.

    Empty lines are counted and left out unless `keep_empty`. With `header` the first line is never skipped.
    """

    stream: BinaryIO
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
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            raise self._read_error(error) from None
        finally:
            if self.name != "stdin":
                self.stream.close()

    def _read_error(self, error: Exception) -> InputError:
        # Decompressors raise OSError too, but only the system's own errors carry a number.
        if isinstance(error, OSError) and error.errno is not None:
            return InputError(f"{self.name}: reading failed after line {self.number}: {error.strerror}")
        what = "ends in the middle (truncated)" if isinstance(error, EOFError) else "is not valid"
        message = f"{self.name}: the compressed data {what} after line {self.number}"
        return InputError(message, hint="fetch or pack the file again")

    def _decode(self, raw: bytes) -> str:
        if self.number == 1:
            self._check_first(raw)
            raw = raw.removeprefix(codecs.BOM_UTF8)
        try:
            text = raw.decode(self.encoding)
        except UnicodeDecodeError as error:
            self._refuse_bytes(raw, error)
        if "\0" in text:
            raise bad_row(self.place(self.number), "holds a NUL character", row=text)
        return text.rstrip("\r\n")

    def _check_first(self, raw: bytes) -> None:
        suffix = next((suffix for magic, suffix in MAGIC.items() if raw.startswith(magic)), None)
        if suffix is not None:
            hint = f"unpack it first: {UNPACK[suffix]} FILE | ... -"
            raise InputError(f"{self.name}: compressed data ({suffix}) where rows of text belong", hint=hint)
        if raw.startswith(WIDE_BOMS):
            hint = "convert it first: iconv -f utf-16 -t utf-8 FILE > NEW_FILE"
            raise InputError(f"{self.name}: the text is UTF-16", hint=hint)

    def _refuse_bytes(self, raw: bytes, error: UnicodeDecodeError) -> NoReturn:
        at = f"byte {self.offset + error.start} (0x{raw[error.start]:02x})"
        try:
            shown, hint = raw.decode("gb18030"), "the bytes are valid GB18030: try `--encoding gb18030`"
        except UnicodeDecodeError:
            shown, hint = raw.decode(self.encoding, "replace"), SKIP_HINT
        what = f"not {self.encoding.upper()} at {at}"
        raise bad_row(self.place(self.number), what, row=shown.rstrip("\r\n"), hint=hint) from None
