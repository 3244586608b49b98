"""Tokens back into readable text: Chinese closed up, other words apart, punctuation where it belongs."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from nlpx.tokenizers.characters import is_cjk, is_punctuation

_OPENING = frozenset("([{<$#@")
_INNER = frozenset("'-/_@#&+=*~\\|^`")  # glue both sides: it's, e-mail, and/or, a_b
_NUMERIC = frozenset(".:")  # glue digits: 3.14, 12:30
_QUOTE = '"'


def join_tokens(tokens: Sequence[str]) -> str:
    """Join word pieces into text; `##` pieces continue the word before them."""
    words = _merge_pieces(tokens)
    text: list[str] = []
    quote_is_open = False
    for before, previous, word in zip(["", "", *words], ["", *words], words, strict=False):
        if word == _QUOTE:
            quote_is_open = not quote_is_open
            space = quote_is_open and _needs_space("", previous, "word")
        elif previous == _QUOTE:
            space = not quote_is_open and _needs_space("", "word", word)
        else:
            space = _needs_space(before, previous, word)
        text.append(" " + word if space else word)
    return "".join(text)


def _merge_pieces(tokens: Iterable[str]) -> list[str]:
    words: list[str] = []
    for token in tokens:
        if words and token.startswith("##") and len(token) > 2:
            words[-1] += token[2:]
        else:
            words.append(token)
    return words


def _needs_space(before: str, previous: str, word: str) -> bool:
    """Whether a blank parts `previous` and `word`; `before` stands in front of both."""
    if not previous or not word or _is_closed_up(previous[-1]) or _is_closed_up(word[0]):
        return False
    if is_punctuation(word[0]):
        return word in _OPENING - _INNER and not is_punctuation(previous[-1])
    if previous in _OPENING or previous in _INNER:
        return False
    return not (previous in _NUMERIC and before[-1:].isdigit() and word[0].isdigit())


def _is_closed_up(character: str) -> bool:
    # Full-width punctuation and kana take no blanks either; Hangul is as wide, but its words are parted.
    if character.isascii() or "\uac00" <= character <= "\ud7a3":
        return False
    return is_cjk(character) or unicodedata.east_asian_width(character) in "WF" or character in "“”‘’…—·"
