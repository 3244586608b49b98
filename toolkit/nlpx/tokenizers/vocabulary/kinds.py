"""What a vocabulary consists of, for people: how many entries of which kind, and what is wrong with it."""

from __future__ import annotations

import re
from collections import Counter

from nlpx.tokenizers.characters import is_cjk, is_punctuation
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab

# In the order in which they are shown.
KINDS = (
    "special tokens",
    "Chinese characters",
    "words of 2 characters",
    "words of 3 characters",
    "words of 4 characters",
    "words of 5 and more characters",
    "Latin words",
    "Latin letters",
    "Latin pieces",
    "numbers",
    "number pieces",
    "Chinese pieces",
    "punctuation",
    "unused",
    "blank lines",
    "other",
)
_UNUSED = re.compile(r"\[unused\d+\]|<[A-Za-z0-9_]+>")


def kind_of(token: str) -> str:
    """Which of `KINDS` an entry is."""
    if not token:
        return "blank lines"
    if token in SPECIAL_TOKENS:
        return "special tokens"
    if _UNUSED.fullmatch(token):
        return "unused"
    stem = token.removeprefix("##") if len(token) > 2 else token
    return _piece(stem) if stem != token else _whole(token)


def entries_by_kind(vocab: Vocab) -> dict[str, int]:
    """How many lines are of each kind, in the order of `KINDS`, kinds without any left out."""
    counts = Counter(map(kind_of, vocab.tokens))
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def duplicates(vocab: Vocab) -> list[str]:
    """Entries that stand on several lines, in their order; blank lines are no entries."""
    return [token for token, count in Counter(vocab.tokens).items() if count > 1 and token]


def _piece(stem: str) -> str:
    if all(map(is_cjk, stem)):
        return "Chinese pieces"
    if stem.isdecimal():
        return "number pieces"
    return "Latin pieces" if stem.isascii() and stem.isalnum() else "other"


def _whole(token: str) -> str:
    if all(map(is_cjk, token)):
        length = len(token)
        if length == 1:
            return "Chinese characters"
        return f"words of {length} characters" if length < 5 else "words of 5 and more characters"
    if token.isdecimal():
        return "numbers"
    if all(map(is_punctuation, token)):
        return "punctuation"
    if token.isascii() and token.isalnum():
        return "Latin letters" if len(token) == 1 else "Latin words"
    return "other"
