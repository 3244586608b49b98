"""User dictionaries in jieba's format: a word a line, then optionally its frequency and part of speech."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from nlpx.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_LINE = re.compile(r"(?P<word>.+?)(?: (?P<frequency>[0-9]+))?(?: (?P<tag>[a-z]+))?")


class UserWord(NamedTuple):
    """A word for the segmenter. Without `frequency` it gets the one jieba would suggest; 0 deletes the word."""

    word: str
    frequency: int | None = None
    tag: str | None = None


def read_user_dictionary(source: str | Path | Iterable[str | UserWord] | None) -> list[UserWord]:
    """Entries of a file, or of lines or entries given directly; None gives none.

    Raises `InputError` with file and line for a missing file, text that is not UTF-8, or fields parted by
    tabs.
    """
    if source is None:
        return []
    from pathlib import Path  # late: most segmenters have no dictionary, and a small count notices the import

    if isinstance(source, str | Path):
        return list(_parse(_lines(Path(source)), place=str(source)))
    return [entry for item in source for entry in _entries(item)]


def _entries(item: str | UserWord) -> Iterable[UserWord]:
    return _parse([item], place="user dictionary") if isinstance(item, str) else [UserWord(*item)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except OSError:
        hint = "give a UTF-8 text file, one word a line"
        raise InputError(f"cannot read the user dictionary {path}", hint=hint) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        hint = "convert it, for example with `iconv -f GB18030 -t UTF-8`"
        raise InputError(f"{path}:{line} is not UTF-8", hint=hint) from None


def _parse(lines: Iterable[str], *, place: str) -> Iterator[UserWord]:
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None or "\t" in line:
            hint = "write `word`, `word frequency` or `word frequency tag`, parted by one blank"
            raise InputError(f"{place}:{number} is no dictionary entry: {line!r}", hint=hint)
        frequency = match["frequency"]
        yield UserWord(match["word"], None if frequency is None else int(frequency), match["tag"])
