"""From paths, folders, patterns, URLs and `-` to sources, in an order that does not depend on luck."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from nlpx.data.opening.arrays import begins_array
from nlpx.data.opening.compression import SUFFIXES
from nlpx.data.opening.encodings import (
    AUTO,
    SAMPLE_BYTES,
    by_mark,
    byte_order,
    check_encoding,
    decide,
    is_wide,
    warn_of_other,
)
from nlpx.data.opening.magic import HEAD_BYTES, PARQUET, Compression, compression_of_bytes, refuse_other
from nlpx.data.opening.refusals import near_files
from nlpx.data.opening.remote import RemoteFile, is_url, list_url, without_password
from nlpx.errors import InputError, UsageError, refuse_empty, shown
from nlpx.notes import note

TextFormat = Literal["txt", "jsonl", "csv", "tsv", "parquet", "any"]

FORMATS: tuple[TextFormat, ...] = ("txt", "jsonl", "csv", "tsv", "parquet")
FORMAT_OF_SUFFIX: dict[str, TextFormat] = {
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Source:
    """One stream of texts or rows: a file, a URL, or stdin (`-`).

    `size` counts the bytes as stored, None where that is unknown; `compression` is how they are packed. `encoding` is
    what the bytes themselves told (None: as asked for), `is_array` whether they are one JSON array, `is_told` whether
    the stored bytes were looked at yet, `is_chosen` whether somebody named the format, so that an HTML page may be
    meant. The format `any` is told by the first bytes too: JSON or lines.
    """

    name: str
    path: str
    size: int | None
    compression: Compression | None
    format: TextFormat
    encoding: str | None = None
    is_array: bool = False
    is_told: bool = False
    is_chosen: bool = False

    @property
    def splittable(self) -> bool:
        """Whether any range of its bytes can be read by itself."""
        is_whole = self.compression is None and not self.is_recoded and self.size is not None
        return is_whole and self.format in ("txt", "jsonl", "tsv")

    @property
    def repeatable(self) -> bool:
        """Whether it can be opened again: stdin and pipes cannot."""
        return self.path != "-" and (self.size is not None or is_url(self.path))

    @property
    def is_recoded(self) -> bool:
        """Whether its lines are made while it is read, in UTF-8."""
        return self.is_array or (self.encoding is not None and is_wide(self.encoding))

    def lines_encoding(self, asked: str) -> str:
        """The encoding of its lines as they are read; `asked` where the bytes do not tell."""
        return "utf-8" if self.is_recoded else self.encoding or asked


def find_sources(
    paths: Sequence[str], *, format: str | None = None, encoding: str = "utf-8", default: TextFormat = "txt"
) -> list[Source]:
    """Return the sources that `paths` name, in the order given, those of a folder or pattern by name.

    A folder stands for all its files with a known suffix (with `format`: all its files), without hidden ones, down
    to the last sub-folder. A path named twice is read twice. The format follows the suffix (others: `default`),
    local compression the content; the encoding the byte-order mark or, with `encoding="auto"`, the characters.
    Raises UsageError for an unknown format or encoding and for no path, InputError for a missing file, for a folder or
    pattern without text, and for files that are no text.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown format `{format}`", hint=f"formats: {', '.join(FORMATS)}")
    if not paths:
        raise UsageError("no text to read", hint="name a file or a folder; or - for stdin")
    check_encoding(encoding)
    choice = _Choice(format, encoding, default)
    sources = [source for path in paths for source in _sources(_without_file_scheme(str(path)), choice)]
    _note_encodings(sources)
    return sources


@dataclass(frozen=True)
class _Choice:
    """What was asked for: a format, an encoding, and what names without a known suffix stand for."""

    format: str | None
    encoding: str
    default: TextFormat

    def format_of(self, path: str) -> TextFormat:
        chosen = self.format or FORMAT_OF_SUFFIX.get(text_suffix(path), self.default)
        if chosen == "txt" and self.format is None:
            chosen = self.default
        return next((known for known in FORMATS if known == chosen), "any")


def _note_encodings(sources: Sequence[Source]) -> None:
    told = [source for source in sources if source.encoding is not None]
    if len(told) == 1:
        note(f"{told[0].name}: encoding {told[0].encoding}")
    elif told:
        counts = Counter(str(source.encoding) for source in told).most_common()
        note(f"encodings of {len(told):,} files: " + ", ".join(f"{name} ({count:,})" for name, count in counts))


def settled(source: Source, head: bytes, encoding: str) -> Source:
    """A source with the encoding and the form that its first bytes, unpacked, tell; `encoding` is what was asked for.

    Raises InputError for bytes of something that is no text.
    """
    if source.format == "parquet":
        return source
    refuse_other(head, source.name, may_be_page=source.is_chosen)
    found = by_mark(head) or (decide(head, source.name) if encoding == AUTO else None)
    if found is None and encoding not in (AUTO, "utf-8"):
        warn_of_other(head, source.name, encoding)
        found = byte_order(head, encoding) if is_wide(encoding) else None
    if found == encoding == "utf-8":
        found = None
    kind = _told_format(head) if source.format == "any" else source.format
    return replace(source, encoding=found, format=kind, is_array=kind == "jsonl" and begins_array(head))


def _told_format(head: bytes) -> TextFormat:
    """JSON rows by their brackets, else lines; a line may begin with one bracket too, as in `[CLS]`."""
    begin = head.translate(None, b"\0\xff\xfe\xef\xbb\xbf \t\r\n")[:2]
    return "jsonl" if begin[:1] == b"{" or begin in (b"[{", b"[]") else "txt"


def _without_file_scheme(path: str) -> str:
    if not path.startswith("file://"):
        return path
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(path).path)


def _sources(path: str, choice: _Choice) -> Iterator[Source]:
    refuse_empty(path, what="a file")
    if path == "-":
        yield Source("stdin", "-", None, None, choice.format_of(""), is_chosen=choice.format is not None)
    elif is_url(path):
        yield from _remote_sources(path, choice)
    elif os.path.isdir(path):  # noqa: PTH112 - `str` all the way: a folder may hold a million files
        files = [name for name in _walk(path) if choice.format or hastext_suffix(name)]
        yield from (_local_source(name, choice) for name in _some(files, path))
    elif not os.path.lexists(path) and _PATTERN.search(path):
        yield from (_local_source(name, choice) for name in _some(_matching(path), path))
    else:
        yield _local_source(path, choice)


def _some(names: list[str], path: str) -> list[str]:
    if not names:
        what = "matches no file" if _PATTERN.search(path) else "is a folder without text"
        hint = (
            f"known suffixes: {' '.join(FORMAT_OF_SUFFIX)}, also with {' '.join(SUFFIXES)}; `--input-format` takes all"
        )
        raise InputError(f"{path} {what}", hint=hint)
    return names


def _walk(folder: str) -> list[str]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be opened: {error.strerror}")

    found = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [f"{place.rstrip('/')}/{name}" for name in files if not name.startswith(".")]
    return sorted(found)


def _matching(pattern: str) -> list[str]:
    from glob import glob

    return sorted(name for name in glob(pattern, recursive=True) if not os.path.isdir(name))  # noqa: PTH112, PTH207


def _local_source(path: str, choice: _Choice) -> Source:
    is_chosen = choice.format is not None
    try:
        facts = Path(path).stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe: what is read of it is gone
            return Source(path, path, None, _packed_suffix(path), choice.format_of(path), is_chosen=is_chosen)
        head = _head(path, SAMPLE_BYTES if choice.encoding == AUTO else HEAD_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", hint=near_files(Path(path))) from None
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else error  # a NUL in a name is a ValueError
        raise InputError(f"{shown(path)} cannot be opened: {what}") from None
    # By content as well as by name: a renamed archive is still readable, and the name alone may be wrong.
    packed = compression_of_bytes(head) or (_packed_suffix(path) if head else None)
    kind = "parquet" if head.startswith(PARQUET) and choice.format is None else choice.format_of(path)
    source = Source(path, path, facts.st_size, packed, kind, is_told=True, is_chosen=is_chosen)
    return source if packed else settled(source, head, choice.encoding)


def _head(path: str, num_bytes: int) -> bytes:
    with open(path, "rb") as stream:  # noqa: PTH123
        return stream.read(num_bytes)


def _remote_sources(url: str, choice: _Choice) -> Iterator[Source]:
    files, is_folder = list_url(url)
    files = [file for file in files if not _is_hidden(file.url, url)]
    if is_folder:
        files = [file for file in files if choice.format or hastext_suffix(file.url)]
    _some([file.url for file in files], without_password(url))
    yield from (_remote_source(file, choice) for file in files)


def _is_hidden(url: str, given: str) -> bool:
    """Whether a store lists a hidden file below a folder or pattern; one that was named itself is meant."""
    named = given.split("/")
    return any(part.startswith(".") and part not in named for part in url.split("/"))


def _remote_source(file: RemoteFile, choice: _Choice) -> Source:
    path = re.sub(r"[?#].*", "", file.url)
    kind, size = choice.format_of(path), file.size
    if kind != "parquet" and choice.encoding != "utf-8" and (choice.encoding == AUTO or is_wide(choice.encoding)):
        size = None  # read from its start alone, where its encoding shows
    name = without_password(file.url)
    return Source(name, file.url, size, _packed_suffix(path), kind, is_chosen=choice.format is not None)


def hastext_suffix(path: str) -> bool:
    """Whether a file name says that it holds texts."""
    return text_suffix(path) in FORMAT_OF_SUFFIX


def text_suffix(path: str) -> str:
    """The suffix of a file name that tells its format, in lower case, without that of a compression."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    if suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _packed_suffix(path: str) -> Compression | None:
    return SUFFIXES.get(PurePosixPath(path).suffix.lower())
