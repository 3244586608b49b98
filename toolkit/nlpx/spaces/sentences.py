"""Where the sentences and the clauses of a text lie: spans of the text as it is, so that they can be shown in it.

A span never begins or ends with a blank, and never reaches over a line break that ends it. What has no punctuation is
parted at a length, at a blank if there is one: every text, however long, becomes spans that are short enough to work
on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from nlpx.data.corpus.sentences import split_sentences

LONGEST = 512  # characters of a span; a sentence of Chinese prose has 10 to 100
LAST_CLAUSES = 256  # of a document: its end is where a judgment decides (kexue.fm/archives/8046)

# A clause ends where a sentence does, and at colons and commas. The marks of ASCII end one next to Chinese characters
# or before a blank only: in 3,000 and 10:30 they do not.
_CLAUSE = re.compile(
    r"(?:[^。！？；…：，!?;:,\n]|(?<=[!-~])[!?;:,](?=[!-~]))*+"
    r"(?:(?:[。！？；…：，!?;:,]++[”’\"'）)】〕》〉」』］\]]*+)++|\n|\Z)"
)


class Span(NamedTuple):
    """A part of a text, and where it lies there: `text[start:end]`, in characters."""

    start: int
    end: int
    text: str


def sentences(text: str, longest: int = LONGEST) -> list[Span]:
    """The sentences of a text in order, each of at most `longest` characters; blanks between them belong to none."""
    return list(_spans(split_sentences(text), longest))


def clauses(text: str, longest: int = LONGEST) -> list[Span]:
    """The same for clauses, which also end at commas and colons; those of a document to be labelled are the last 256.

    kexue.fm/archives/8046 splits at line ends, then 。 then ； then ： then ， down to pieces of one mark; here other
    marks that end a sentence do so too, with the quotes closed behind them.
    """
    return list(_spans(_CLAUSE.findall(text), longest))


def _spans(pieces: list[str], longest: int) -> Iterator[Span]:
    """The pieces, which follow one another and make up a text, without the blanks around them, in parts."""
    end = 0
    for piece in pieces:
        start, end = end, end + len(piece)
        body = piece.strip()
        start += len(piece) - len(piece.lstrip())
        while len(body) > longest:
            cut = _blank_before(body, longest) or longest
            yield Span(start, start + len(body[:cut].rstrip()), body[:cut].rstrip())
            rest = body[cut:].lstrip()
            start, body = start + len(body) - len(rest), rest
        if body:
            yield Span(start, start + len(body), body)


def _blank_before(body: str, longest: int) -> int:
    """The place after the last blank of the first `longest` characters; 0 without one."""
    last = max((body.rfind(blank, 0, longest) for blank in " \t\u3000"), default=-1)
    return last + 1
