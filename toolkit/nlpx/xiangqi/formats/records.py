"""Games as they are written down: what the readers of all formats make, before any move is checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from nlpx.xiangqi.formats.chinese import DIGIT_OF, DIRECTION_OF, PLACE_OF, SPELLINGS

_RESULT_WORDS = {
    "1-0": ("1-0", "红胜", "红先胜", "紅勝", "紅先勝", "黑负", "胜"),
    "0-1": ("0-1", "黑胜", "红负", "红先负", "黑勝", "紅負", "紅先負", "负"),
    "1/2-1/2": ("1/2-1/2", "1/2", "½-½", "和", "和棋", "和局", "红和", "红先和", "紅先和"),
    "*": ("*", "未知", "不明"),
}
RESULT_OF_WORD = {word: result for result, words in _RESULT_WORDS.items() for word in words}


@dataclass
class Record:
    """One written game: its moves as words, and where it stands; `fault` if it could not even be taken apart."""

    number: int  # in its file, from 1
    line: int
    words: list[str]
    result: str = "*"
    start: str | None = None  # a FEN; None: the usual start
    tags: dict[str, str] = field(default_factory=dict)
    fault: str | None = None


def _one_of(*tables: Iterable[str]) -> str:
    characters = {character for table in tables for character in "".join(table)}
    return "[" + "".join(re.escape(character) for character in sorted(characters)) + "]"


_PIECES = [character for spelling in SPELLINGS.values() for character in spelling if not character.isascii()]
_PLACES = [place for place in PLACE_OF if not place.isascii()]
_SUBJECT = _one_of(_PIECES, _PLACES, DIGIT_OF)
_DIRECTION = _one_of([direction for direction in DIRECTION_OF if not direction.isascii() and direction != "。"])

_WORD = re.compile(
    rf"({_SUBJECT}{{2}}{_DIRECTION}{_one_of(DIGIT_OF)}"
    r"|[A-Ia-i](?:10|\d)-?[A-Ia-i](?:10|\d)"  # ranks from 0, or from 1 to 10
    r"|1-0|0-1|1/2-1/2|\*"
    r"|[A-Za-z+-][A-Za-z1-9+-][-+=.][1-9])"
    r"|\d+[.．、]+|[!?！？#,，…]+|\.\.+"
    r"|([^\s!?！？,，]+)"
)
_COMMENT = re.compile(r"\{[^}]*\}|;[^\n]*|\$\d+|^%[^\n]*", re.MULTILINE)
_WIDE = dict(zip("（）｛｝；", "(){};", strict=True))


def words_of(text: str) -> list[str]:
    """Take a movetext apart into moves and whatever else stands there; numbers, comments, marks and variations go."""
    for wide, narrow in _WIDE.items():
        if wide in text:
            text = text.replace(wide, narrow)
    if "{" in text or ";" in text or "$" in text or "%" in text:
        text = _COMMENT.sub(" ", text)
    if "(" in text:
        text = _without_variations(text)
    return [move or other for move, other in _WORD.findall(text) if move or other]


def _without_variations(text: str) -> str:
    kept, depth = [], 0
    for part in re.split(r"([()])", text):
        if part == "(":
            depth += 1
        elif part == ")":
            depth = max(depth - 1, 0)
        elif depth == 0:
            kept.append(part)
    return " ".join(kept)


def split_result(words: list[str]) -> str | None:
    """Take the result off the end of the words, if one stands there."""
    return RESULT_OF_WORD[words.pop()] if words and words[-1] in RESULT_OF_WORD else None


def plain_result(text: str | None) -> str:
    """Return a result in one of its four forms, `*` for what cannot be understood."""
    return RESULT_OF_WORD.get((text or "").strip(), "*")
