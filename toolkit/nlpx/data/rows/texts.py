"""Texts to work on one by one: plain lines, or one field of rows, each with its place and the row around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlpx.data.opening.sources import Source

ROW_FORMATS = ("jsonl", "csv", "tsv", "parquet")


@dataclass(frozen=True, slots=True)
class Texts:
    """Where the lines or rows are, and which field of rows holds the text."""

    source: str
    field: str = "text"
    format: str | None = None  # None: by suffix; stdin holds lines
    encoding: str = "utf-8"

    @property
    def row_format(self) -> str | None:
        """The format if these are rows; None for plain lines."""
        from nlpx.data.rows.reading import format_of

        found = self.format or (None if self.source == "-" else format_of(self.source))
        return found if found in ROW_FORMATS else None


@dataclass(frozen=True, slots=True)
class Text:
    """A text with its number from 0, its place, and the row it came from; None of a plain line."""

    number: int
    place: str
    text: str
    row: Mapping[str, Any] | None = None


def read_texts(given: Texts) -> Iterator[Text]:
    """Every line or row, empty ones too. Raises `InputError` for a row without the field, or with no text in it."""
    from nlpx.data.opening.encodings import check_encoding
    from nlpx.data.opening.sources import find_sources

    check_encoding(given.encoding)
    if given.row_format is not None:
        return _rows(given)
    (found,) = find_sources([given.source], format="txt", encoding=given.encoding)
    return _lines(found, given.encoding)


def _lines(source: Source, encoding: str) -> Iterator[Text]:
    from nlpx.data.opening.streams import open_source
    from nlpx.data.rows.lines import Lines, RowReport
    from nlpx.notes import note

    with open_source(source, encoding=encoding) as (opened, stream):
        lines = Lines(stream, opened.name, opened.lines_encoding(encoding), RowReport(), skip=False, keep_empty=True)
        for number, text in lines:
            if text.startswith('{"'):
                note(f"{opened.name}: lines such as JSON are taken as they are; --input-format jsonl reads rows")
            yield Text(number - 1, lines.place(number), text)


def _rows(given: Texts) -> Iterator[Text]:
    from nlpx.data.rows.reading import bad_row, read_rows

    for number, row in enumerate(read_rows(given.source, encoding=given.encoding, format=given.row_format)):
        if given.field not in row.values:
            hint = f"its fields: {', '.join(row.values)}; choose with `--field`"
            raise bad_row(row.place, f"has no field `{given.field}`", row=row.values, hint=hint)
        text = row.values[given.field]
        if text is not None and not isinstance(text, str):
            raise bad_row(row.place, f"field `{given.field}` is no text", row=row.values)
        yield Text(number, row.place, text or "", row.values)
