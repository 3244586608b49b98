"""From decoded lines to texts: plain lines, a field of JSON rows, a column of TSV and CSV tables.

A text that is empty or only white space is left out, unless it is to be kept (`keep_empty`) because each line of plain
text and each row has to stay in its place. A line without a row in it, in a file of rows, never counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from nlpx.data.corpus.pieces import Piece, Reading
from nlpx.data.opening.csv_reader import QUOTE_HINT, CsvReader
from nlpx.data.opening.json_rows import NOT_JSON_HINT, UNUSABLE, not_json
from nlpx.data.opening.refusals import ARRAY_HINT, NUL, REPLACE_HINT, SURROGATE, bad_row, names, wrong_width
from nlpx.data.opening.sources import Source
from nlpx.data.opening.tables import LABELLED, SAMPLE_ROWS, columns_of
from nlpx.errors import InputError


@dataclass(frozen=True, slots=True)
class Header:
    """What the first lines of a TSV table tell: how many columns, which one holds the texts, where rows begin."""

    num_columns: int
    column: int
    end: int


def plain_texts(text: str, *, keep_empty: bool = False) -> Iterator[str]:
    """Yield the lines."""
    if keep_empty:
        return iter(text.removesuffix("\n").split("\n") if text else ())
    return (line for line in text.split("\n") if line and not line.isspace())


def json_texts(piece: Piece, reading: Reading, *, keep_empty: bool = False) -> Iterator[str]:
    """Yield the field of each row; a row where it is null has an empty text. Raises InputError by line."""
    from json import loads

    field = reading.field
    for index, line in enumerate(piece.decode(reading).split("\n")):
        if not line or line.isspace():
            continue
        try:
            value = loads(line)[field]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise _bad_json(error, piece.place(index), line, field) from None
        if not isinstance(value, str):
            if value is not None:
                raise piece.refuse(
                    index,
                    f"field `{field}` is no text",
                    row=line,
                    hint="correct the row; or choose another with --field",
                )
            value = ""
        if "\\u" in line:  # only escapes can bring in what no decoder lets through
            value = _usable(value, piece, index, reading)
        if keep_empty or (value and not value.isspace()):
            yield value


def _bad_json(error: Exception, place: str, line: str, field: str) -> InputError:
    from json import loads

    if isinstance(error, KeyError):
        return InputError(f"{place}: no field `{field}`", hint=names("fields", loads(line)))
    if isinstance(error, RecursionError):
        return not_json(error, place, line, hint=ARRAY_HINT)
    if isinstance(error, ValueError):
        return not_json(error, place, line, hint=NOT_JSON_HINT)
    return bad_row(place, "not a JSON object", row=line, hint=ARRAY_HINT)


def _usable(value: str, piece: Piece, index: int, reading: Reading) -> str:
    found = UNUSABLE.search(value)
    if found is None:
        return value
    if reading.errors == "replace":
        return UNUSABLE.sub("\ufffd", value)
    raise piece.refuse(index, f"holds {NUL if found.group() == chr(0) else SURROGATE}", hint=REPLACE_HINT)


def column_of(columns: Sequence[str], place: str, field: str) -> int:
    """Return the position of a column. Raises InputError that names those there are."""
    if field not in columns:
        raise InputError(f"{place}: no column `{field}`", hint=names("columns", filter(None, columns)))
    return list(columns).index(field)


def tsv_header(stream: Any, source: Source, reading: Reading, *, start: int = 0, line: int = 1) -> Header | None:
    """Read the columns from a stream that stands at byte `start` and line `line`; None if only empty lines follow."""
    end, first, rows = start, None, []
    for number, raw in enumerate(iter(stream.readline, b""), start=line):
        text = Piece(source, raw, end, number).decode(reading).rstrip("\n").removeprefix("\ufeff")
        end += len(raw)
        if text.strip():
            rows.append(text.split("\t"))
            first = first or (end - len(raw), end, f"{source.name}:{number}")
            if len(rows) > SAMPLE_ROWS:
                break
    if first is None:
        return None
    begin, end, place = first
    columns = columns_of(rows[0], rows[1:], name=source.name, place=place, forms=LABELLED, asked=(reading.field,))
    column = column_of(columns.names, place, reading.field)
    return Header(len(columns.names), column, end if columns.has_header else begin)


def tsv_texts(piece: Piece, reading: Reading, header: Header, *, keep_empty: bool = False) -> Iterator[str]:
    """Yield one cell of each row below the header; nothing is quoted. Raises InputError for rows of another width."""
    num_skipped, text = _below_header(piece, reading, header)
    for index, line in enumerate(text.split("\n"), start=num_skipped):
        if not line or line.isspace():
            continue
        cells = line.split("\t")
        if len(cells) != header.num_columns:
            what = wrong_width(len(cells), header.num_columns)
            raise piece.refuse(index, what, row=line, hint="correct the row; `--input-format csv` reads quotes")
        value = cells[header.column]
        if keep_empty or (value and not value.isspace()):
            yield value


def _below_header(piece: Piece, reading: Reading, header: Header) -> tuple[int, str]:
    """The number of lines of the piece up to the header, and the text after them."""
    inside = max(0, header.end - piece.start)
    num_skipped = piece.data.count(b"\n", 0, inside)
    return num_skipped, "\n".join(piece.decode(reading).split("\n")[num_skipped:])


def csv_texts(pieces: Iterable[Piece], source: Source, reading: Reading, *, keep_empty: bool = False) -> Iterator[str]:
    """Yield one cell of each row of a whole CSV table; a quoted cell may span lines. Raises InputError by line."""

    def refuse(number: int, what: str, text: str) -> None:
        raise bad_row(f"{source.name}:{number}", what, row=text, hint=QUOTE_HINT)

    rows = ((number, cells) for number, cells in CsvReader(_lines(pieces, reading), source.name, refuse) if any(cells))
    head = list(islice(rows, SAMPLE_ROWS))
    if not head:
        return
    number, first = head[0]
    place = f"{source.name}:{number}"
    following = [cells for _, cells in head[1:]]
    columns = columns_of(first, following, name=source.name, place=place, forms=LABELLED, asked=(reading.field,))
    column, width = column_of(columns.names, place, reading.field), len(columns.names)
    for number, cells in chain(head[columns.has_header :], rows):
        if len(cells) != width:
            raise bad_row(
                f"{source.name}:{number}", wrong_width(len(cells), width), row=",".join(cells), hint=QUOTE_HINT
            )
        if keep_empty or (cells[column] and not cells[column].isspace()):
            yield cells[column]


def _lines(pieces: Iterable[Piece], reading: Reading) -> Iterator[tuple[int, str]]:
    number = 0
    for piece in pieces:
        lines = piece.decode(reading).split("\n")
        if not lines[-1]:
            lines.pop()
        for line in lines:
            number += 1
            yield number, line
