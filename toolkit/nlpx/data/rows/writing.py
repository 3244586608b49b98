"""Writing rows: JSON lines, CSV, TSV or Parquet, to a stream or a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TextIO

from nlpx.errors import InputError, UsageError


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
