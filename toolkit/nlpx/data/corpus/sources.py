"""From paths, folders, patterns, URLs and `-` to the sources of a corpus, in an order that does not depend on luck."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from nlpx.data.corpus.compression import NUM_MAGIC_BYTES, SUFFIXES, Compression, compression_of_bytes
from nlpx.data.corpus.remote import RemoteFile, is_url, list_url
from nlpx.errors import InputError, UsageError

TextFormat = Literal["txt", "jsonl", "csv", "tsv", "parquet"]

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
_PARQUET_MAGIC = b"PAR1"
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Source:
    """One stream of texts: a file, a URL, or stdin (`-`).

    `size` counts the bytes as stored, None where that is unknown; `compression` is how they are packed.
    """

    name: str
    path: str
    size: int | None
    compression: Compression | None
    format: TextFormat

    @property
    def splittable(self) -> bool:
        return self.compression is None and self.size is not None and self.format in ("txt", "jsonl", "tsv")

    @property
    def repeatable(self) -> bool:
        """Whether it can be opened again: stdin and pipes cannot."""
        return self.path != "-" and (self.size is not None or is_url(self.path))


def find_sources(paths: Sequence[str], *, format: str | None = None) -> list[Source]:
    """Return the sources that `paths` name, in the order given, those of a folder or pattern by name.

    A folder stands for all its files with a known suffix (with `format`: all its files), without hidden ones, down
    to the last sub-folder. A path named twice is read twice. The format follows the suffix (others: plain text),
    local compression the content. Raises UsageError for an unknown format or no path, InputError for a missing file
    and for a folder or pattern without text.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown format `{format}`", hint=f"formats: {', '.join(FORMATS)}")
    if not paths:
        raise UsageError("no text to read", hint="name a file or a folder, or - for stdin")
    return [source for path in paths for source in _sources(_without_file_scheme(str(path)), format)]


def _without_file_scheme(path: str) -> str:
    if not path.startswith("file://"):
        return path
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(path).path)


def _sources(path: str, format: str | None) -> Iterator[Source]:
    if path == "-":
        yield Source("stdin", "-", None, None, _format("", format))
    elif is_url(path):
        yield from _remote_sources(path, format)
    elif os.path.isdir(path):  # noqa: PTH112 - `str` all the way: a folder may hold a million files
        files = [name for name in _walk(path) if format or has_text_suffix(name)]
        yield from (_local_source(name, format) for name in _some(files, path))
    elif not os.path.lexists(path) and _PATTERN.search(path):
        yield from (_local_source(name, format) for name in _some(_matching(path), path))
    else:
        yield _local_source(path, format)


def _some(names: list[str], path: str) -> list[str]:
    if not names:
        what = "matches no file" if _PATTERN.search(path) else "is a folder without text"
        hint = f"known suffixes: {' '.join(FORMAT_OF_SUFFIX)}, also with {' '.join(SUFFIXES)}; --input-format takes all"
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


def _local_source(path: str, format: str | None) -> Source:
    try:
        facts = Path(path).stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe: what is read of it is gone
            return Source(path, path, None, _packed_suffix(path), _format(path, format))
        head = _head(path)
    except FileNotFoundError:
        from nlpx.data.rows.lines import near_files

        raise InputError(f"{path}: no such file", hint=near_files(Path(path))) from None
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from None
    # By content as well as by name: a renamed archive is still readable, and the name alone may be wrong.
    packed = compression_of_bytes(head) or (_packed_suffix(path) if head else None)
    kind: TextFormat = "parquet" if head.startswith(_PARQUET_MAGIC) and format is None else _format(path, format)
    return Source(path, path, facts.st_size, packed, kind)


def _head(path: str) -> bytes:
    with open(path, "rb") as stream:  # noqa: PTH123
        return stream.read(NUM_MAGIC_BYTES)


def _remote_sources(url: str, format: str | None) -> Iterator[Source]:
    files, is_folder = list_url(url)
    files = [file for file in files if not _is_hidden(file.url, url)]
    if is_folder:
        files = [file for file in files if format or has_text_suffix(file.url)]
    _some([file.url for file in files], url)
    yield from (_remote_source(file, format) for file in files)


def _is_hidden(url: str, given: str) -> bool:
    """Whether a store lists a hidden file below a folder or pattern; one that was named itself is meant."""
    named = given.split("/")
    return any(part.startswith(".") and part not in named for part in url.split("/"))


def _remote_source(file: RemoteFile, format: str | None) -> Source:
    path = re.sub(r"[?#].*", "", file.url)
    return Source(file.url, file.url, file.size, _packed_suffix(path), _format(path, format))


def has_text_suffix(path: str) -> bool:
    """Whether a file name says that it holds texts."""
    return _text_suffix(path) in FORMAT_OF_SUFFIX


def _format(path: str, format: str | None) -> TextFormat:
    chosen = format or FORMAT_OF_SUFFIX.get(_text_suffix(path), "txt")
    return next(known for known in FORMATS if known == chosen)


def _text_suffix(path: str) -> str:
    suffixes = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    if suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _packed_suffix(path: str) -> Compression | None:
    return SUFFIXES.get(PurePosixPath(path).suffix.lower())
