"""Tables of counts as files: `word<TAB>count`, JSON lines, or a vocabulary; written and read again without loss.

In the tab-separated form a tab, a line feed and a carriage return inside a word are `\\t`, `\\n` and `\\r`, and a
backslash is doubled only where it would otherwise be read as one of these; every other word stands as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, TextIO

from nlpx.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

CountFormat = Literal["tsv", "jsonl", "vocab"]

_MOST_DIGITS = 30  # of a count: more is no count of anything, and fits no number that is computed with
# What stands before the tokens of a vocabulary, as in the releases of BERT.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_TO_ESCAPE = r"\\(?=[tnr\\\t\n\r])|[\t\n\r]"
_ESCAPED = r"\\[tnr\\]"
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_ORIGINALS = {escape: original for original, escape in _ESCAPES.items()}


def escape(word: str) -> str:
    """Return a word without tabs and line ends; `unescape` gives it back."""
    if "\\" not in word and "\t" not in word and "\n" not in word and "\r" not in word:
        return word
    return re.sub(_TO_ESCAPE, lambda found: _ESCAPES[found[0]], word)


def unescape(text: str) -> str:
    """Return the word that `escape` wrote."""
    return re.sub(_ESCAPED, lambda found: _ORIGINALS[found[0]], text) if "\\" in text else text


def write_counts(rows: Iterable[tuple[str, int]], stream: TextIO, *, format: CountFormat = "tsv") -> int:
    """Write counts in the order given, one line each, and return how many.

    `vocab` writes the tokens alone, behind the five special ones, as a `vocab.txt`.
    """
    lines = {"tsv": _tsv_lines, "jsonl": _json_lines, "vocab": _vocabulary_lines}[format](rows)
    number = 0
    for number, line in enumerate(lines, start=1):  # noqa: B007 - the last number is the result
        stream.write(line)
    return number


def _tsv_lines(rows: Iterable[tuple[str, int]]) -> Iterator[str]:
    return (f"{escape(word)}\t{count}\n" for word, count in rows)


def _json_lines(rows: Iterable[tuple[str, int]]) -> Iterator[str]:
    from json import dumps

    return (dumps({"word": word, "count": count}, ensure_ascii=False) + "\n" for word, count in rows)


def _vocabulary_lines(rows: Iterable[tuple[str, int]]) -> Iterator[str]:
    yield from (f"{token}\n" for token in SPECIAL_TOKENS)
    for word, _ in rows:
        # A token is a line, and each token has one: what could not be read again is left out.
        if word not in SPECIAL_TOKENS and not re.search(r"[\t\n\r]", word):
            yield f"{word}\n"


def read_counts(path: str | Path) -> Iterator[tuple[str, int]]:
    """Yield the words and counts of a file that `write_counts` wrote as `tsv` or `jsonl`; packed files are unpacked.

    Raises InputError by line for everything else.
    """
    from nlpx.data.corpus.pieces import Reading, read_pieces
    from nlpx.data.opening.sources import find_sources

    for source in find_sources([str(path)], format="txt"):
        number = 0
        for piece in read_pieces(source, Reading()):
            for line in piece.decode(Reading()).split("\n"):
                number += 1
                if line:
                    yield _parsed(line, f"{source.name}:{number}")
            number -= 1  # behind the last line end of a piece the next piece begins


def _parsed(line: str, place: str) -> tuple[str, int]:
    word, tab, count = line.rpartition("\t")
    if tab and count.isascii() and count.isdigit() and len(count) <= _MOST_DIGITS and word:
        return unescape(word), int(count)
    if line.startswith("{"):
        return _parsed_json(line, place)
    raise _not_a_count(line, place)


def _parsed_json(line: str, place: str) -> tuple[str, int]:
    from json import loads

    try:
        row = loads(line)
        word, count = row["word"], row["count"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _not_a_count(line, place) from None
    if not isinstance(word, str) or type(count) is not int or not 0 <= count < 10**_MOST_DIGITS:
        raise _not_a_count(line, place)
    return word, count


def _not_a_count(line: str, place: str) -> InputError:
    from nlpx.data.opening.refusals import excerpt

    hint = 'a line is `word<TAB>count` or {"word": ..., "count": ...}, as `nlpx wordfreq` writes them'
    return InputError(f"{place}: not a count: {excerpt(line)}", hint=hint)
