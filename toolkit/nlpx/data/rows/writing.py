"""Writing rows: JSON lines, CSV, TSV or Parquet, to a stream or a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

from nlpx.errors import InputError, MachineError, UsageError, install_hint, reason_of
from nlpx.io import write_atomically

OutFormat = Literal["jsonl", "csv", "tsv", "parquet"]
TextOutFormat = Literal["jsonl", "csv", "tsv"]

_FIRST_ROWS = 1000


def out_format_of(path: str | Path | None, chosen: OutFormat | None) -> OutFormat:
    """Return the format that was chosen, else the one that the suffix of a file says, else JSON lines."""
    suffix = "" if path is None else Path(path).suffix.lower().removeprefix(".")
    known: dict[str, OutFormat] = {name: name for name in get_args(OutFormat)}
    return chosen or known.get(suffix, "jsonl")


class RowWriter:
    """Writes rows to a text stream as JSON lines, CSV or TSV; `flush` hands each row on at once (for pipes).

    `fields` selects and orders the columns (default of tables: the fields of the first row). Raises InputError for a
    row that has a field the header lacks, unless `fields` was given, and for a tab or a line end in a cell of TSV,
    which has no quotes.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        format: TextOutFormat = "jsonl",
        fields: Sequence[str] | None = None,
        flush: bool = False,
    ) -> None:
        if format not in get_args(TextOutFormat):
            raise UsageError(f"cannot write rows as `{format}`", hint="formats: jsonl, csv, tsv")
        self.stream, self.format, self.flush = stream, format, flush
        self.fields = None if fields is None else list(fields)
        self.select = fields is not None
        self.num_rows = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        if self.format == "jsonl":
            kept = row if self.fields is None else {name: row[name] for name in self.fields if name in row}
            self.stream.write(json.dumps(kept, ensure_ascii=False) + "\n")
        else:
            self._write_cells(row)
        self.num_rows += 1
        if self.flush:
            self.stream.flush()

    def write_all(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows as they come."""
        for row in rows:
            self.write(row)

    def _write_cells(self, row: Mapping[str, Any]) -> None:
        if self.fields is None:
            self.fields = list(row)
        if not self.select:
            _refuse_unknown([row], self.fields)
        if self.num_rows == 0:
            self._write_line(self.fields)
        self._write_line([_cell(row.get(name)) for name in self.fields])

    def _write_line(self, cells: Sequence[Any]) -> None:
        if self.format == "csv":
            csv.writer(self.stream, lineterminator="\n").writerow(cells)
            return
        texts = [str(cell) for cell in cells]
        if any("\t" in text or "\n" in text or "\r" in text for text in texts):
            message = f"row {self.num_rows + 1} holds a tab or a line end, which TSV has no way to write"
            raise InputError(message, hint="`--format csv` quotes such cells")
        self.stream.write("\t".join(texts) + "\n")


def _refuse_unknown(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    known = set(columns)
    extra = next((name for row in rows for name in row if name not in known), None)
    if extra is not None:
        hint = "write JSON lines instead: `--format jsonl`; or name the columns: `--columns`"
        raise InputError(f"a row has the field `{extra}`, which the header of the table lacks", hint=hint)


def _cell(value: object) -> object:
    if isinstance(value, dict | list | bool):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value


def write_rows(
    rows: Iterable[Mapping[str, Any]],
    path: str | Path,
    *,
    format: OutFormat = "jsonl",
    fields: Sequence[str] | None = None,
    encoding: str = "utf-8",
) -> None:
    """Write rows to a file, whole or not at all; a table gets the columns that its first thousand rows have.

    Raises what `RowWriter` raises, MachineError for Parquet without pyarrow, InputError for characters that the
    encoding lacks.
    """
    with write_atomically(path) as temporary:
        if format == "parquet":
            _write_parquet(rows, temporary, fields)
            return
        stream_of_rows = iter(rows)
        first = list(islice(stream_of_rows, _FIRST_ROWS))
        with temporary.open("w", encoding=encoding, newline="\n") as stream, encodable(encoding):
            writer = RowWriter(stream, format=format, fields=fields)
            if format != "jsonl" and fields is None:
                writer.fields = columns_of_rows(first)
            writer.write_all(chain(first, stream_of_rows))


def columns_of_rows(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """All fields of some rows; one that only later rows have stands where it stands in them."""
    columns: list[str] = []
    for row in rows:
        names = list(row)
        for place, name in enumerate(names):
            if name not in columns:
                follower = next((other for other in names[place:] if other in columns), None)
                columns.insert(len(columns) if follower is None else columns.index(follower), name)
    return columns


@contextmanager
def encodable(encoding: str) -> Iterator[None]:
    """Turn the error for a character that an encoding lacks into one that names both."""
    try:
        yield
    except UnicodeEncodeError as error:
        what = f"`{error.object[error.start]}` cannot be written in {encoding}"
        raise InputError(what, hint="gb18030 and utf-8-sig have every character") from None


def _write_parquet(rows: Iterable[Mapping[str, Any]], path: Path, fields: Sequence[str] | None) -> None:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise MachineError("writing Parquet needs the extra `data`", hint=install_hint("data")) from None
    stream, selected = iter(rows), fields is not None
    writer: Any = None
    try:
        while batch := list(islice(stream, _FIRST_ROWS)):
            fields = fields or columns_of_rows(batch)
            if not selected:
                _refuse_unknown(batch, fields)
            chosen = [{name: row.get(name) for name in fields} for row in batch]
            table = pyarrow.Table.from_pylist(chosen, schema=None if writer is None else writer.schema)
            writer = ParquetWriter(path, table.schema) if writer is None else writer
            writer.write_table(table)
    except pyarrow.ArrowException as error:
        what = f"the rows do not fit the columns of the first ones ({reason_of(error)})"
        raise InputError(what, hint="write JSON lines instead: `--format jsonl`") from None
    finally:
        if writer is not None:
            writer.close()
