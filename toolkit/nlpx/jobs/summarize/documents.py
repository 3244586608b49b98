"""Documents to be summarised, with their summaries where they are known: lines, or fields of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nlpx.data.rows.reading import Row, Shape, bad_row, read_rows


@dataclass(frozen=True, slots=True)
class Documents:
    """Where documents are, and which fields of rows hold them.

    A file of plain lines has a document a line. The text of a row may also be a list of texts, or of objects with a
    `sentence` each, as in the judgments of CAIL 2020; they are joined by line ends.
    """

    source: str
    field: str = "text"
    summary_field: str | None = None  # of summaries that somebody wrote; None: they are not read
    format: str | None = None  # None: by suffix, or by the first line
    encoding: str = "utf-8"
    split: str | None = None  # only rows whose `split` is this


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its place and its row, a text there too; `summary` is what somebody wrote, if it was asked for."""

    place: str
    text: str
    row: Mapping[str, Any]
    summary: str = ""


def read_documents(given: Documents) -> Iterator[Document]:
    """Every document, empty ones too, one at a time. Raises `InputError` for a row without the fields."""
    shape = Shape(keep_empty=True)
    for row in read_rows(given.source, encoding=given.encoding, format=given.format, shape=shape):
        if given.split is not None and row.values.get("split") != given.split:
            continue
        text = _text_of(row, given.field, option="--field")
        if given.summary_field is None:
            yield Document(row.place, text, {**row.values, given.field: text})
            continue
        summary = _text_of(row, given.summary_field, option="--summary-field")
        yield Document(row.place, text, {**row.values, given.field: text}, summary)


def _text_of(row: Row, name: str, *, option: str) -> str:
    if name not in row.values:
        hint = f"its fields: {', '.join(row.values)}; choose with `{option}`"
        raise bad_row(row.place, f"has no field `{name}`", row=row.values, hint=hint)
    value = row.values[name]
    parts = value if isinstance(value, list) else [value]
    found = [part.get("sentence") if isinstance(part, dict) else part for part in parts]
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < sum(text is not None for text in found):
        hint = "a text, a list of texts, or a list of objects with a `sentence` is expected"
        raise bad_row(row.place, f"field `{name}` is no text", row=row.values, hint=hint)
    return "\n".join(texts)
