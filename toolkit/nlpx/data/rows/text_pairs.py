"""Pairs of texts, with or without a score: rows of JSON lines and CSV, or lines with tabs between the columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nlpx.data.opening.refusals import bad_row
from nlpx.data.opening.tables import Forms
from nlpx.data.rows.reading import Row, Shape, read_rows

TEXT_NAMES = (
    ("text1", "text2"),
    ("source", "target"),
    ("sentence1", "sentence2"),
    ("text_a", "text_b"),
    ("query", "title"),
    ("s1", "s2"),
    ("q1", "q2"),
    ("query1", "query2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
)
SCORE_NAMES = ("score", "label", "similarity")
_FORMS: Forms = {2: ("text1", "text2"), 3: ("text1", "text2", "score")}  # of lines with tabs that have no header
_ALL_NAMES = tuple(name for names in TEXT_NAMES for name in names)


@dataclass(frozen=True, slots=True)
class TextPair:
    """Two texts, all values of their row, and where it stands."""

    text1: str
    text2: str
    values: dict[str, Any]
    place: str


def read_pairs(
    source: str, *, fields: Sequence[str] | None = None, encoding: str = "utf-8", format: str | None = None
) -> Iterator[TextPair]:
    """Yield the pairs of a file, a pipe or stdin (`-`), one at a time, in constant memory.

    Rows of every format, see `read_rows`; tables may come without a header, as two texts and perhaps a score. The
    texts are in `fields`, or where `TEXT_NAMES` says. Raises InputError for a row without two texts, by its line.
    """
    return (pair_of(row, fields) for row in rows_of_pairs(source, fields=fields, encoding=encoding, format=format))


def rows_of_pairs(
    source: str, *, fields: Sequence[str] | None = None, encoding: str = "utf-8", format: str | None = None
) -> Iterator[Row]:
    """The rows of such a file as they are; a line without a tab is `{"text": line}`."""
    # Two columns without a known name are two texts: a first line like any other must not be lost.
    shape = Shape(_FORMS, (*(fields or ()), *_ALL_NAMES), rows_if_unsure=(2,))
    return read_rows(source, encoding=encoding, format=format, shape=shape)


def pair_of(row: Row, fields: Sequence[str] | None = None) -> TextPair:
    """The two texts of a row. Raises InputError if they are not there or no texts."""
    wanted = TEXT_NAMES if fields is None else [fields]
    names = next((names for names in wanted if set(names) <= set(row.values)), None)
    if names is None:
        if set(row.values) == {"text"}:
            raise bad_row(row.place, "one text where two are expected, with a tab between them", row=row.values["text"])
        what = "has no " + (" or no ".join(f"`{name}`" for name in fields) if fields else "pair of texts")
        hint = f"its fields: {', '.join(row.values)}; choose two of them with `--field`, given twice"
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
        hint = f"its fields: {', '.join(pair.values)}; `--score-field` says which holds the score"
        raise bad_row(pair.place, "the pair has no score", row=pair.values, hint=hint)
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise bad_row(pair.place, f"the score `{value}` is no number", row=pair.values, hint="correct the row")
    return score
