"""What can be said of a summary beside its source: how much it copies, how short it is, whether its facts stand there.

None of it needs a reference. Texts are compared lower-cased and in Unicode's compatibility form, so that full-width
digits are digits.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence

from nlpx.metrics.generation import characters

LENGTHS = (0, 20, 50, 100, 200, 400, 800)  # characters from which the bins of a histogram reach

# Dates first, as they hold numbers. A number has all its digits: 3 does not stand in 13, nor in 3.5.
_DATE = re.compile(r"(?<!\d)(?:\d{2,4}年(?:\d{1,2}月(?:\d{1,2}[日号])?)?|\d{1,2}月\d{1,2}[日号]|\d{4}-\d{1,2}-\d{1,2})")
_NUMBER = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)*")
_LATIN = re.compile(r"[a-z][a-z0-9]*(?:[.+#&_'-]?[a-z0-9]+|\+\+|#)*")


def copied(summary: str, source: str, size: int) -> tuple[int, int]:
    """How many n-grams of `size` characters of a summary stand in its source, and how many it has."""
    ours, theirs = characters(summary), characters(source)
    there = set(_ngrams(theirs, size))
    found = _ngrams(ours, size)
    return sum(ngram in there for ngram in found), len(found)


def facts(text: str) -> list[str]:
    """The dates, the numbers in digits and the words of Latin letters in a text, each once, in order.

    A date counts as a whole and not as its numbers; 1,000 is 1000.
    """
    text = _plain(text)
    dates = _DATE.findall(text)
    rest = _DATE.sub("。", text)
    numbers = [number.replace(",", "") for number in _NUMBER.findall(_LATIN.sub("。", rest))]
    return list(dict.fromkeys([*dates, *numbers, *_LATIN.findall(rest)]))


def unsupported(summary: str, source: str) -> list[str]:
    """The facts of a summary that do not stand in its source.

    A date without its year stands in one with it. What is true but said in other words, such as 两 for 2, is reported
    too: it is a list to look at.
    """
    text = _plain(source)
    known = {*facts(source), *(number.replace(",", "") for number in _NUMBER.findall(text)), *_LATIN.findall(text)}
    return [fact for fact in facts(summary) if fact not in known and not _is_in_a_date(fact, text)]


def histogram(lengths: Sequence[int]) -> list[int]:
    """How many lengths are in each bin of `LENGTHS`; the last one has no end."""
    counts = [0] * len(LENGTHS)
    for length in lengths:
        counts[bisect_right(LENGTHS, length) - 1] += 1
    return counts


def _is_in_a_date(fact: str, text: str) -> bool:
    return _DATE.fullmatch(fact) is not None and re.search(rf"(?<!\d){re.escape(fact)}", text) is not None


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def _ngrams(tokens: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(tokens[start:] for start in range(size)), strict=False))
