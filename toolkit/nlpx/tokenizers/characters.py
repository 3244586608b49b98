"""The character classes of BERT's rules, as bert4keras draws them, and its normalisation.

The Rust library behind character vocabularies draws a few borders elsewhere (see `nlpx.tokenizers.word`); it
decides there, these functions decide for word vocabularies, for decoding and for recognising vocabularies.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_CJK_RANGES = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def is_cjk(character: str) -> bool:
    """Whether `character` is a Chinese character (kana and Hangul are not)."""
    code = ord(character)
    return any(first <= code <= last for first, last in _CJK_RANGES)


def is_punctuation(character: str) -> bool:
    """Whether `character` is punctuation: ASCII that is neither letter, digit nor blank, and Unicode's P."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character).startswith("P")


def is_space(character: str) -> bool:
    """Whether `character` separates words and vanishes."""
    return character in " \t\n\r" or unicodedata.category(character).startswith("Z")


def is_dropped(character: str) -> bool:
    """Whether `character` vanishes without separating: NUL, U+FFFD, control and format characters."""
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf")


def lower_and_strip(text: str) -> str:
    """Lower-case `text`, decompose it (NFD) and drop the accents (category Mn), in bert4keras' order."""
    text = text.lower()
    if text.isascii():
        return text
    text = unicodedata.normalize("NFD", text)
    if _perhaps_accents().search(text) is None:
        return text
    return "".join(character for character in text if unicodedata.category(character) != "Mn")


@cache
def _perhaps_accents() -> re.Pattern[str]:
    # The hundreds of marks beyond U+FFFF would each be compared in turn (those below form a bit map), so all
    # characters up there count as suspects. Below U+0300 there is no mark.
    marks = "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)) == "Mn")
    return re.compile(f"[{marks}\U00010000-\U0010ffff]")
