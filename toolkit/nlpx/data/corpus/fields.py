"""From decoded lines to texts: plain lines, a field of JSON rows, a column of TSV and CSV tables.

A text that is empty or only white space is left out, unless it is to be kept (`keep_empty`) because each line of plain
text and each row has to stay in its place. A line without a row in it, in a file of rows, never counts.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nlpx.data.corpus.pieces import Piece, Reading
from nlpx.data.corpus.sources import Source
from nlpx.errors import InputError

_UNUSABLE = re.compile("[\ud800-\udfff\0]")
_ROW_HINT = "one JSON object a line is expected; an array is split by: jq -c '.[]' FILE"
_MAX_SHOWN_NAMES = 12


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a TSV table: how many columns, which one holds the texts, and the byte where rows begin."""

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
                raise piece.refuse(index, f"field `{field}` is no text", row=line, hint="choose with --field")
            value = ""
        if "\\u" in line:  # only escapes can bring in what no decoder lets through
            value = _usable(value, piece, index, reading)
        if keep_empty or (value and not value.isspace()):
            yield value


def _bad_json(error: Exception, place: str, line: str, field: str) -> InputError:
    import json

    from nlpx.data.rows.lines import bad_row

    if isinstance(error, json.JSONDecodeError):
        what = f"not JSON (column {error.colno}: {error.msg})"
        return bad_row(place, what, row=line, hint="is this JSON lines? --input-format names another format")
    if isinstance(error, KeyError):
        return InputError(f"{place}: no field `{field}`", hint=_names("fields", json.loads(line)))
    if isinstance(error, RecursionError):
        return bad_row(place, "JSON nested too deeply", row=line, hint=_ROW_HINT)
    return bad_row(place, "not a JSON object", row=line, hint=_ROW_HINT)


def _usable(value: str, piece: Piece, index: int, reading: Reading) -> str:
    found = _UNUSABLE.search(value)
    if found is None:
        return value
    if reading.errors == "replace":
        return _UNUSABLE.sub("\ufffd", value)
    what = (
        "holds a NUL character" if found.group() == "\0" else "holds a lone surrogate (half of a \\uD83D\\uDE00 pair)"
    )
    raise piece.refuse(index, f"holds {what}", hint="correct the row, or go on with `--errors replace`")


def _names(what: str, names: Iterable[str]) -> str:
    known = list(names)
    shown = ", ".join(known[:_MAX_SHOWN_NAMES]) + (", …" if len(known) > _MAX_SHOWN_NAMES else "")
    return f"its {what}: {shown or 'none'}; choose with --field"


def column_of(names: Sequence[str], place: str, field: str) -> int:
    """Return the position of a column. Raises InputError that names those there are."""
    if field not in names:
        raise InputError(f"{place}: no column `{field}`", hint=_names("columns", names))
    return list(names).index(field)


def tsv_header(stream: Any, source: Source, reading: Reading, *, start: int = 0, line: int = 1) -> Header | None:
    """Read the header from a stream that stands at byte `start` and line `line`; None if only empty lines follow."""
    end = start
    for number, raw in enumerate(iter(stream.readline, b""), start=line):
        first = Piece(source, raw, end, number).decode(reading).rstrip("\n").removeprefix("\ufeff")
        end += len(raw)
        if first.strip():
            names = first.split("\t")
            return Header(len(names), column_of(names, f"{source.name}:{number}", reading.field), end)
    return None


def tsv_texts(piece: Piece, reading: Reading, header: Header, *, keep_empty: bool = False) -> Iterator[str]:
    """Yield one cell of each row below the header; nothing is quoted. Raises InputError for rows of another width."""
    num_skipped, text = _below_header(piece, reading, header)
    for index, line in enumerate(text.split("\n"), start=num_skipped):
        if not line or line.isspace():
            continue
        cells = line.split("\t")
        if len(cells) != header.num_columns:
            what = f"{len(cells)} cells where the header names {header.num_columns}"
            raise piece.refuse(index, what, row=line, hint="correct the row; --input-format csv reads quotes")
        value = cells[header.column]
        if keep_empty or (value and not value.isspace()):
            yield value


def _below_header(piece: Piece, reading: Reading, header: Header) -> tuple[int, str]:
    """The number of lines of the piece up to the header, and the text after them."""
    inside = max(0, header.end - piece.start)
    num_skipped = piece.data.count(b"\n", 0, inside)
    return num_skipped, "\n".join(piece.decode(reading).split("\n")[num_skipped:])


def csv_texts(pieces: Iterable[Piece], source: Source, reading: Reading, *, keep_empty: bool = False) -> Iterator[str]:
    """Yield one cell of each row of a whole CSV table with a header; a quoted cell may span lines."""
    import csv

    csv.field_size_limit(sys.maxsize)  # the default, 131,072 characters, is less than a long document
    lines = (line for piece in pieces for line in io.StringIO(piece.decode(reading), newline="\n"))
    reader = csv.reader(lines)
    rows = _csv_rows(reader, source)
    number, header = next(rows, (0, []))
    if not header:
        return
    column = column_of(header, f"{source.name}:{number}", reading.field)
    for number, cells in rows:
        if len(cells) != len(header):
            what = f"{len(cells)} cells where the header names {len(header)}"
            hint = "correct the row; a quote that is never closed swallows the lines after it"
            raise InputError(f"{source.name}:{number}: {what}", hint=hint)
        if keep_empty or (cells[column] and not cells[column].isspace()):
            yield cells[column]


def _csv_rows(reader: Any, source: Source) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, each with the number of the line it begins on."""
    import csv

    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{source.name}:{number}: not CSV ({error})", hint="correct the row") from None
        if any(cell and not cell.isspace() for cell in cells):
            yield number, cells
