"""Reading rows: JSON lines and arrays, TSV, CSV, Parquet and plain lines, from files, URLs, pipes or stdin."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from nlpx.data.opening.csv_reader import QUOTE_HINT, CsvReader
from nlpx.data.opening.encodings import check_encoding
from nlpx.data.opening.json_rows import parse_object
from nlpx.data.opening.refusals import SKIP_HINT, bad_row, excerpt, wrong_width
from nlpx.data.opening.sources import FORMAT_OF_SUFFIX, FORMATS, Source, find_sources, text_suffix
from nlpx.data.opening.streams import Opened, open_source
from nlpx.data.opening.tables import SAMPLE_ROWS, Columns, Forms, columns_of, names_columns
from nlpx.data.rows.lines import Lines, RowReport
from nlpx.errors import InputError, UsageError
from nlpx.notes import note

__all__ = ["Format", "OnBadRow", "Row", "RowReport", "bad_row", "excerpt", "format_of", "read_rows"]

Format = Literal["jsonl", "tsv", "csv", "txt", "parquet"]
OnBadRow = Literal["fail", "skip"]
_Table = Iterator[tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by field name, and where it stands (`file.jsonl:12`, `stdin:3`)."""

    values: dict[str, Any]
    place: str


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows may come that do not say it: tables without a header, lines that stand for a row even if empty."""

    forms: Forms | None = None  # None: every table has a header
    names: Collection[str] = ()  # of columns that were asked for: a line with one of them is a header
    keep_empty: bool = False  # an empty line of plain text is a row with an empty text
    rows_if_unsure: Collection[int] = ()  # widths whose first line is a row unless it surely is a header


def read_rows(
    source: str | Path,
    *,
    encoding: str = "utf-8",
    format: str | None = None,
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
    shape: Shape | None = None,
) -> Iterator[Row]:
    """Yield the rows of a file or URL (packed ones are unpacked), a pipe or stdin (`-`), one at a time.

    The format follows the suffix unless given; of stdin, of `.txt` and of other names it is told by the first line:
    a JSON object or array, columns with tabs, names of columns with commas, plain lines. Plain lines become
    `{"text": line}`; TSV is unquoted. The first line of a table names its columns, unless `shape` allows for tables
    without. A byte-order mark, CRLF and empty lines are tolerated. What is decided here is noted. Raises InputError
    for what cannot be read, UsageError for an unknown encoding, format or policy.
    """
    check_encoding(encoding)
    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown row format `{format}`", hint=f"formats: {', '.join(FORMATS)}")
    if on_bad_row not in ("fail", "skip"):
        raise UsageError(f"unknown policy `{on_bad_row}` for bad rows", hint="policies: fail, skip")
    path = str(source)
    if path != "-" and Path(path).is_dir():
        raise InputError(f"{path} is a folder, not a file of rows", hint="name one of the files in it")
    sources = find_sources([path], format=format, encoding=encoding, default="any")
    report = RowReport() if report is None else report
    reader = _Reader(encoding, on_bad_row == "skip", report, shape or Shape())
    return chain.from_iterable(map(reader.rows, sources))


def format_of(source: str | Path) -> Format | None:
    """Return the row format that a suffix stands for; None for stdin and for other names, which the content tells."""
    found = FORMAT_OF_SUFFIX.get(text_suffix(str(source)))
    return None if found == "any" else found


class _Reader:
    """Reads one source after another under the same choices."""

    def __init__(self, encoding: str, skip: bool, report: RowReport, shape: Shape) -> None:
        self.encoding, self.skip, self.report, self.shape = encoding, skip, report, shape

    def rows(self, source: Source) -> Iterator[Row]:
        if source.format == "parquet":
            from nlpx.data.rows.parquet import parquet_rows

            for row in parquet_rows(source):
                self.report.num_rows += 1
                yield row
            return
        with ExitStack() as stack:
            # Opened when the first row is asked for: a pipe may have no writer before.
            opened = stack.enter_context(open_source(source, encoding=self.encoding))
            yield from self._counted(*self._parsed(opened))

    def _counted(self, lines: Lines, rows: Iterator[Row]) -> Iterator[Row]:
        before = self.report.num_rows
        for row in rows:
            self.report.num_rows += 1
            yield row
        if self.report.num_rows > before:
            return
        if lines.first_error is not None:
            first = lines.first_error
            raise InputError(f"{lines.name} holds no usable row; the first: {first.message}", hint=first.hint)
        what = "is empty" if lines.number == 0 else "holds no rows"
        raise InputError(f"{lines.name} {what}", hint="one row a line is expected")

    def _parsed(self, opened: Opened) -> tuple[Lines, Iterator[Row]]:
        source = opened.source
        lines = Lines(
            opened.stream,
            name=source.name,
            encoding=source.lines_encoding(self.encoding),
            report=self.report,
            skip=self.skip,
            header=source.format in ("csv", "tsv"),
            keep_empty=source.format == "csv",  # a quoted cell may hold an empty line
        )
        if source.format == "jsonl":
            return lines, _json_rows(lines)
        if source.format == "csv":
            return lines, self._table(_csv_cells(lines, iter(lines)), lines)
        if source.format == "tsv":
            return lines, self._table(_tab_cells(lines), lines)
        return lines, self._lines(lines)

    def _lines(self, lines: Lines) -> Iterator[Row]:
        """Plain lines, unless the first one has tabs and tables without a suffix are expected."""
        lines.keep_empty = self.shape.keep_empty
        numbered = iter(lines)
        first = list(islice(numbered, 1))
        if self.shape.forms is not None and first and "\t" in first[0][1]:
            lines.keep_empty = False
            cells = ((number, text.split("\t")) for number, text in chain(first, numbered))
            return self._table(cells, lines)
        if self.shape.forms is not None and first and names_columns(first[0][1].split(","), self.shape.names):
            note(f"{lines.name}: read as CSV, by the names in its first line")
            lines.keep_empty = lines.header = True
            return self._table(_csv_cells(lines, chain(first, numbered)), lines)
        return (Row({"text": text}, lines.place(number)) for number, text in chain(first, numbered))

    def _table(self, table: _Table, lines: Lines) -> Iterator[Row]:
        head = list(islice(table, 1 if self.shape.forms is None else SAMPLE_ROWS))
        if not head:
            return
        number, first = head[0]
        columns = columns_of(
            first,
            [cells for _, cells in head[1:]],
            name=lines.name,
            place=lines.place(number),
            forms=self.shape.forms or {},
            asked=self.shape.names,
            rows_if_unsure=self.shape.rows_if_unsure,
        )
        yield from _named_rows(chain(head[columns.has_header :], table), columns, self.shape.forms or {}, lines)


def _named_rows(table: Iterable[tuple[int, list[str]]], columns: Columns, forms: Forms, lines: Lines) -> Iterator[Row]:
    for number, cells in table:
        if len(cells) == len(columns.names):
            yield Row(columns.row(cells), lines.place(number))
        elif not columns.has_header and _begins_alike(forms.get(len(cells), ()), columns.names):
            yield Row(dict(zip(forms[len(cells)], cells, strict=True)), lines.place(number))
        else:
            what = wrong_width(len(cells), len(columns.names))
            if not columns.has_header:
                what = what.replace("the header names", "the first line has")
            lines.refuse(bad_row(lines.place(number), what, row="\t".join(cells)))


def _begins_alike(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether one list of names is the beginning of the other, such as two texts without the score."""
    common = min(len(names), len(others))
    return common > 0 and tuple(names[:common]) == tuple(others[:common])


def _json_rows(lines: Lines) -> Iterator[Row]:
    for number, text in lines:
        try:
            yield Row(parse_object(text, lines.place(number)), lines.place(number))
        except InputError as error:
            lines.refuse(error)


def _tab_cells(lines: Lines) -> _Table:
    return ((number, text.split("\t")) for number, text in lines)


def _csv_cells(lines: Lines, numbered: Iterator[tuple[int, str]]) -> _Table:
    def refuse(number: int, what: str, text: str) -> None:
        hint = QUOTE_HINT if lines.skip else f"{QUOTE_HINT}; {SKIP_HINT.split('; ')[1]}"
        lines.refuse(bad_row(lines.place(number), what, row=text, hint=hint))

    for number, cells in CsvReader(numbered, lines.name, refuse):
        if cells:
            yield number, cells
        else:
            lines.report.num_empty += 1
