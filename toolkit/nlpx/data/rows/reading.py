"""Reading and writing rows: JSON lines, TSV, CSV and plain lines, from files or stdin, in constant memory."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TextIO

from nlpx.data.rows.lines import OPENERS, Lines, RowReport, bad_row, check_encoding, excerpt, open_source
from nlpx.errors import InputError, UsageError

__all__ = [
    "Format",
    "OnBadRow",
    "Row",
    "RowReport",
    "RowWriter",
    "bad_row",
    "excerpt",
    "format_of",
    "read_rows",
]

Format = Literal["jsonl", "tsv", "csv", "txt"]
OnBadRow = Literal["fail", "skip"]

FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".tsv": "tsv",
    ".csv": "csv",
    ".txt": "txt",
}
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by field name, and where it stands (`file.jsonl:12`, `stdin:3`)."""

    values: dict[str, Any]
    place: str


def read_rows(
    source: str | Path,
    *,
    encoding: str = "utf-8",
    format: Format | None = None,
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
) -> Iterator[Row]:
    """Yield the rows of a file (`.gz`, `.bz2`, `.xz` are unpacked) or of stdin (`-`), one at a time.

    The format follows the suffix (stdin: JSON lines) unless given. Plain lines become `{"text": line}`; TSV
    is unquoted; TSV and CSV need a header. A byte-order mark, CRLF and empty lines are tolerated.
    Raises InputError for what cannot be read, UsageError for an unknown encoding, format or policy.
    """
    check_encoding(encoding)
    _check_choices(format, on_bad_row)
    report = RowReport() if report is None else report
    name, stream = open_source(source)
    kind = format or format_of(source)
    lines = Lines(
        stream,
        name=name,
        encoding=encoding,
        report=report,
        skip=on_bad_row == "skip",
        header=kind in ("csv", "tsv"),
        keep_empty=kind == "csv",  # a quoted cell may hold an empty line
    )
    parse = {"jsonl": _parse_json, "tsv": _parse_tsv, "csv": _parse_csv, "txt": _parse_text}[kind]
    return _rows(lines, parse)


def format_of(source: str | Path) -> Format:
    """Return the row format a file name stands for; stdin and unknown suffixes count as JSON lines."""
    suffixes = [suffix.lower() for suffix in Path(source).suffixes]
    if suffixes and suffixes[-1] in OPENERS:
        suffixes.pop()
    return FORMAT_OF_SUFFIX.get(suffixes[-1], "jsonl") if suffixes else "jsonl"


def _check_choices(format: str | None, on_bad_row: str) -> None:
    if format not in (None, "jsonl", "tsv", "csv", "txt"):
        raise UsageError(f"unknown row format `{format}`", hint="formats: jsonl, tsv, csv, txt")
    if on_bad_row not in ("fail", "skip"):
        raise UsageError(f"unknown policy `{on_bad_row}` for bad rows", hint="policies: fail, skip")


def _rows(lines: Lines, parse: Callable[[Lines], Iterator[Row]]) -> Iterator[Row]:
    report = lines.report
    before = report.num_rows
    for row in parse(lines):
        report.num_rows += 1
        yield row
    if report.num_rows > before:
        return
    if lines.first_error is not None:
        first = lines.first_error
        raise InputError(f"{lines.name} holds no usable row; the first: {first.message}", hint=first.hint)
    what = "is empty" if lines.number == 0 else "holds no rows"
    raise InputError(f"{lines.name} {what}", hint="one row a line is expected")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def _parse_json(lines: Lines) -> Iterator[Row]:
    for number, text in lines:
        try:
            yield Row(_json_object(text, lines.place(number)), lines.place(number))
        except InputError as error:
            lines.refuse(error)


def _json_object(text: str, place: str) -> dict[str, Any]:
    try:
        values = _JSON.decode(text)
    except json.JSONDecodeError as error:
        raise bad_row(place, f"not JSON (column {error.colno}: {error.msg})", row=text) from None
    except (ValueError, RecursionError) as error:
        what = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise bad_row(place, f"not JSON ({what})", row=text) from None
    if not isinstance(values, dict):
        hint = "one JSON object a line is expected; an array is split by: jq -c '.[]' FILE"
        raise bad_row(place, f"a JSON {_json_type(values)}, not an object", row=text, hint=hint)
    # Only escapes can smuggle these past the decoder, so most rows skip the walk.
    if "\\u" in text:
        _check_strings(values, place, text)
    return values


def _json_type(value: object) -> str:
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "null" if value is None else "number or boolean"


def _check_strings(value: object, place: str, text: str) -> None:
    if isinstance(value, str):
        if SURROGATE.search(value):
            raise bad_row(place, "holds a lone surrogate (half of a \\uD83D\\uDE00 pair)", row=text)
        if "\0" in value:
            raise bad_row(place, "holds a NUL character", row=text)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_strings(key, place, text)
            _check_strings(item, place, text)
    elif isinstance(value, list):
        for item in value:
            _check_strings(item, place, text)


def _parse_text(lines: Lines) -> Iterator[Row]:
    for number, text in lines:
        yield Row({"text": text}, lines.place(number))


def _parse_tsv(lines: Lines) -> Iterator[Row]:
    cells = ((number, text.split("\t")) for number, text in lines)
    return _table_rows(cells, lines)


def _parse_csv(lines: Lines) -> Iterator[Row]:
    return _table_rows(_csv_cells(lines), lines)


def _csv_cells(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(sys.maxsize)  # the default, 131,072 characters, is less than a long document
    # A quoted cell may span lines, hence the newline put back and the number of the line a row ends on.
    reader = csv.reader(f"{text}\n" for _, text in lines)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.refuse(bad_row(lines.place(lines.number), f"not CSV ({error})"))
            continue
        if cells:
            yield lines.number, cells
        else:
            lines.report.num_empty += 1


def _table_rows(table: Iterator[tuple[int, list[str]]], lines: Lines) -> Iterator[Row]:
    number, header = next(table, (0, []))
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated or "" in header:
        what = f"names `{repeated[0]}` twice" if repeated and repeated[0] else "has a column without a name"
        raise InputError(f"{lines.place(number)}: the header {what}", hint="the first row names the columns")
    for number, cells in table:
        if len(cells) == len(header):
            yield Row(dict(zip(header, cells, strict=True)), lines.place(number))
        else:
            what = f"{len(cells)} cells where the header names {len(header)}"
            lines.refuse(bad_row(lines.place(number), what, row="\t".join(cells)))


class RowWriter:
    """Writes rows to a text stream as JSON lines or CSV; `flush` hands each row on at once (for pipes).

    `fields` selects and orders the columns of CSV (default: the fields of the first row).
    Raises InputError for a row that has a field the CSV header lacks, unless `fields` was given.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        format: Literal["jsonl", "csv"] = "jsonl",
        fields: Sequence[str] | None = None,
        flush: bool = False,
    ) -> None:
        if format not in ("jsonl", "csv"):
            raise UsageError(f"cannot write rows as `{format}`", hint="formats: jsonl, csv")
        self.stream, self.format, self.flush = stream, format, flush
        self.fields = None if fields is None else list(fields)
        self.select = fields is not None
        self.header_written = False

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        if self.format == "jsonl":
            kept = row if self.fields is None else {name: row[name] for name in self.fields if name in row}
            self.stream.write(json.dumps(kept, ensure_ascii=False) + "\n")
        else:
            self._write_csv(row)
        if self.flush:
            self.stream.flush()

    def write_all(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows as they come."""
        for row in rows:
            self.write(row)

    def _write_csv(self, row: Mapping[str, Any]) -> None:
        if self.fields is None:
            self.fields = list(row)
        extra = [name for name in row if name not in self.fields]
        if extra and not self.select:
            message = f"a row has the field `{extra[0]}`, which the CSV header lacks"
            raise InputError(message, hint="write JSON lines instead: `--format jsonl`")
        writer = csv.writer(self.stream, lineterminator="\n")
        if not self.header_written:
            writer.writerow(self.fields)
            self.header_written = True
        writer.writerow([_cell(row.get(name)) for name in self.fields])


def _cell(value: object) -> object:
    if isinstance(value, (dict, list, bool)):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value
