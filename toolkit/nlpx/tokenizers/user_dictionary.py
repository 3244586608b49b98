"""User dictionaries in jieba's format: a word a line, then optionally its frequency and part of speech."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from nlpx.errors import InputError, shown, warn

if TYPE_CHECKING:
    from pathlib import Path

# Characters within which jieba looks for words; it splits at every other.
_BLOCK = re.compile(r"[\u4e00-\u9fd5a-zA-Z0-9+#&._%\-]+")
_LINE = re.compile(r"(?P<word>.+?)(?: (?P<frequency>[0-9]+))?(?: (?P<tag>[a-z]+))?")
_MOST_DIGITS = 18  # of a frequency: both segmenters compute with it in 64 bits


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
        entries = list(_parse(_lines(Path(source)), place=str(source)))
    else:
        entries = [entry for item in source for entry in _entries(item)]
    _warn_of_words_never_found(entries)
    return entries


def _warn_of_words_never_found(entries: list[UserWord]) -> None:
    from multiprocessing import parent_process

    never = [entry.word for entry in entries if len(entry.word) > 1 and not _BLOCK.fullmatch(entry.word)]
    if not never or parent_process() is not None:  # workers read the same file: once is enough
        return
    examples = ", ".join(f"`{word}`" for word in never[:3]) + (", …" if len(never) > 3 else "")
    warn(
        f"{len(never)} user words can never be found: {examples}: the segmenter splits at all characters but Chinese "
        "ones, letters, digits and +#&._%-"
    )


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
        if frequency is not None and len(frequency) > _MOST_DIGITS:
            hint = f"a frequency has at most {_MOST_DIGITS} digits"
            raise InputError(f"{place}:{number} is no dictionary entry: {shown(line)!r}", hint=hint)
        yield UserWord(match["word"], None if frequency is None else int(frequency), match["tag"])
