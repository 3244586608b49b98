"""Pairs of texts, with or without a score: rows of JSON lines and CSV, or lines with tabs between the columns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePath
from typing import Any

from nlpx.data.rows.lines import bad_row
from nlpx.data.rows.reading import FORMAT_OF_SUFFIX, Row, format_of, read_rows

TEXT_NAMES = (("text1", "text2"), ("source", "target"), ("sentence1", "sentence2"))
SCORE_NAMES = ("score", "label", "similarity")
COLUMNS = ("text1", "text2", "score")  # of lines with tabs that have no header


@dataclass(frozen=True, slots=True)
class TextPair:
    """Two texts, all values of their row, and where it stands."""

    text1: str
    text2: str
    values: dict[str, Any]
    place: str


def read_pairs(source: str, *, fields: Sequence[str] | None = None, encoding: str = "utf-8") -> Iterator[TextPair]:
    """Yield the pairs of a file or of stdin (`-`), one at a time, in constant memory.

    `.jsonl` and `.csv` follow their suffix. Anything else is told by its first line: a JSON object, names of columns,
    or two texts and perhaps a score, with tabs between. The texts are in `fields`, or where `TEXT_NAMES` says.
    Raises InputError for a row without two texts, by its line.
    """
    return (pair_of(row, fields) for row in rows_of_pairs(source, fields=fields, encoding=encoding))


def rows_of_pairs(source: str, *, fields: Sequence[str] | None = None, encoding: str = "utf-8") -> Iterator[Row]:
    """The rows of such a file as they are; a line without a tab is `{"text": line}`."""
    if _kind(source) != "txt":
        return read_rows(source, encoding=encoding)
    lines = read_rows(source, encoding=encoding, format="txt")
    first = next(lines)
    whole = chain([first], lines)
    if first.values["text"].lstrip().startswith("{"):
        return map(_json_row, whole)
    return _tab_rows(whole, fields)


def pair_of(row: Row, fields: Sequence[str] | None = None) -> TextPair:
    """The two texts of a row. Raises InputError if they are not there or no texts."""
    wanted = TEXT_NAMES if fields is None else [fields]
    names = next((names for names in wanted if set(names) <= set(row.values)), None)
    if names is None:
        if set(row.values) == {"text"}:
            raise bad_row(row.place, "one text where two are expected, with a tab between them", row=row.values["text"])
        what = "has no " + (" or no ".join(f"`{name}`" for name in fields) if fields else "pair of texts")
        hint = f"its fields: {', '.join(row.values)}; choose two of them with --fields"
        raise bad_row(row.place, what, row=row.values, hint=hint)
    for name in names:
        if not isinstance(row.values[name], str):
            raise bad_row(row.place, f"field `{name}` is no text", row=row.values)
    return TextPair(row.values[names[0]], row.values[names[1]], row.values, row.place)


def score_of(pair: TextPair, name: str | None = None) -> float:
    """The score of a pair, in `name` or where `SCORE_NAMES` says. Raises InputError if there is none."""
    found = next((known for known in ([name] if name else SCORE_NAMES) if known in pair.values), None)
    value = None if found is None else pair.values[found]
    if value is None or value == "":
        hint = f"its fields: {', '.join(pair.values)}; --score-field says which holds the score"
        raise bad_row(pair.place, "the pair has no score", row=pair.values, hint=hint)
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise bad_row(pair.place, f"the score `{value}` is no number", row=pair.values, hint="correct the row")
    return score


def _kind(source: str) -> str:
    suffixes = {suffix.lower() for suffix in PurePath(source).suffixes}
    kind = format_of(source) if suffixes & FORMAT_OF_SUFFIX.keys() else "txt"
    return "txt" if source == "-" or kind == "tsv" else kind


def _json_row(line: Row) -> Row:
    text = line.values["text"]
    try:
        values = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise bad_row(line.place, "not a JSON object, as the first line is", row=text, hint="correct the row")
    return Row(values, line.place)


def _tab_rows(lines: Iterable[Row], fields: Sequence[str] | None) -> Iterator[Row]:
    header: list[str] | None = None
    for number, line in enumerate(lines):
        cells = line.values["text"].split("\t")
        if number == 0 and _is_header(cells, fields):
            header = cells
        else:
            yield Row(_named(cells, header, line), line.place)


def _is_header(cells: Sequence[str], fields: Sequence[str] | None) -> bool:
    return any(set(names) <= set(cells) for names in ([fields] if fields else TEXT_NAMES))


def _named(cells: list[str], header: list[str] | None, line: Row) -> dict[str, Any]:
    if header is None and len(cells) == 1:
        return line.values
    names = header or COLUMNS[: max(2, len(cells))]
    if len(cells) == len(names):
        return dict(zip(names, cells, strict=True))
    expected = f"the header names {len(names)}" if header else "two texts and perhaps a score are expected"
    hint = "correct the row, or name the columns in the first line"
    raise bad_row(line.place, f"{len(cells)} cells where {expected}", row=line.values["text"], hint=hint)
