"""Plain lists of moves, one game a line, and JSON lines: our own, and those with the moves under `iccs`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from nlpx.xiangqi.formats.notation import MOVE_OF_ICCS
from nlpx.xiangqi.formats.records import Record, plain_result, split_result, words_of

_POSITION = re.compile(
    r"\s*(?:position\s+)?(?:(?:fen\s+)?((?:[\w]{1,9}/){9}\w{1,9}\s+[wbrWBR](?:\s+-\s+-\s+\d+\s+\d+)?)|startpos)?\s*(?:moves\s)?"
)
_CONTINUES = re.compile(r"\s*(?:[2-9]|[1-9]\d+)[.．、]")
# What the collections that go with the first published model call the result, and its values.
_RESULT_KEY = "棋局结果"
_RESULT_OF_NUMBER = {"2": "1-0", "1": "1/2-1/2", "0": "0-1"}
_ITEM_NAMES = {"红方": "red", "黑方": "black", "赛事": "event", "比赛名称": "event", "日期": "date", "布局": "opening"}


def read_move_lists(lines: Iterable[str]) -> Iterator[Record]:
    """Yield a game a line: moves in any notation, a result at the end, a FEN at the beginning if there is one.

    A line that begins with a move number above 1 continues the game before it; empty lines and # lines are left out.
    """
    text, number, first_line = "", 0, 0
    for line_number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if _CONTINUES.match(line) and text:
            text += line
            continue
        if text:
            yield _from_text(text, number, first_line)
        text, number, first_line = line, number + 1, line_number
    if text:
        yield _from_text(text, number, first_line)


def _from_text(text: str, number: int, line: int) -> Record:
    head = _POSITION.match(text)
    words = words_of(text[head.end() :] if head else text)
    result = split_result(words) or "*"
    return Record(number, line, words, result, head[1] if head else None)


def read_json_lines(lines: Iterable[str]) -> Iterator[Record]:
    """Yield a game a row: `moves` (a text or a list) or `iccs`, and `result`, `fen`, other texts as tags."""
    number = 0
    for line_number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        number += 1
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            yield Record(number, line_number, [], fault=f"the row is not JSON: {reason}")
            continue
        yield _from_row(row, number, line_number)


def _from_row(row: Any, number: int, line: int) -> Record:
    moves = row.get("moves", row.get("iccs")) if isinstance(row, dict) else None
    if isinstance(moves, list):
        moves = " ".join(map(str, moves))
    if not isinstance(moves, str):
        return Record(number, line, [], fault="the row has no moves under `moves` or `iccs`")
    if not isinstance(row.get("fen"), str | None):
        return Record(number, line, [], fault="the row's `fen` is not a text")
    words = moves.split()
    if not words or words[0] not in MOVE_OF_ICCS or len(words[-1]) != 4:
        words = words_of(moves)
    written = split_result(words)
    items = row["items"] if isinstance(row.get("items"), dict) else {}
    given = plain_result(str(row["result"])) if "result" in row else _of_items(items)
    start = row["fen"] if (row.get("fen") or "").strip() else None
    return Record(number, line, words, given if given != "*" or not written else written, start, _tags(row, items))


def _of_items(items: dict[str, Any]) -> str:
    value = str(items.get(_RESULT_KEY, "")).strip()
    return _RESULT_OF_NUMBER.get(value) or plain_result(value)


def _tags(row: dict[str, Any], items: dict[str, Any]) -> dict[str, str]:
    known = {
        key: value for key, value in row.items() if key not in ("moves", "iccs", "result", "fen", "items", "plies")
    }
    known |= {_ITEM_NAMES[key]: value for key, value in items.items() if key in _ITEM_NAMES}
    return {key: value for key, value in known.items() if isinstance(value, str) and value}
