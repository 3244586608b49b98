"""`nlpx predict`: label rows with a fine-tuned run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Device, Quiet, Run

RowFormat = Literal["jsonl", "csv"]
BadRow = Literal["fail", "skip"]


def register(app: typer.Typer) -> None:
    """Add `nlpx predict`."""
    app.command("predict")(predict)


def predict(
    run: Run,
    file: Annotated[str | None, typer.Argument(help="Rows, or - for stdin.", metavar="[FILE|-]")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write here instead of stdout.", metavar="FILE")
    ] = None,
    format_: Annotated[
        RowFormat, typer.Option("--format", help="jsonl: the rows with label and probability; csv: id,label.")
    ] = "jsonl",
    encoding: Annotated[str, typer.Option("--encoding", help="Of the rows, such as gb18030.")] = "utf-8",
    on_bad_row: Annotated[BadRow, typer.Option("--on-bad-row", help="Stop, or leave the row out.")] = "fail",
    device: Device = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout, and errors as JSON on stderr.")] = False,
    quiet: Quiet = False,
) -> None:
    """Label rows with a run and print them, in order.

    Each row comes back with `label` and `probability` added.
    CSV is the contest's form: a header `id,label`, one line a row.

    \b
    Examples:
      nlpx predict last rows.jsonl > answers.jsonl
      cat rows.jsonl | nlpx predict runs/my-run - | jq .probability
      nlpx predict last test_with_id.txt --format csv -o answers.csv
    """
    from nlpx.data.rows.reading import RowReport
    from nlpx.errors import UsageError
    from nlpx.jobs.predict import predict

    console = Console(json=json, quiet=quiet)
    if file is None and sys.stdin.isatty():
        raise UsageError("no rows: stdin is a terminal", hint="name a file, or pipe rows into the command")
    report = RowReport()
    rows = predict(run, file or "-", device=device or "auto", encoding=encoding, on_bad_row=on_bad_row, report=report)
    chosen: RowFormat = "jsonl" if json else format_
    _write(_with_id(rows) if chosen == "csv" else rows, out, chosen)
    if report.num_skipped:
        console.warn(f"{report.num_skipped} bad rows were left out; the first: {report.errors[0]}")


def _with_id(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from nlpx.errors import InputError

    for number, row in enumerate(rows, start=1):
        if row.get("id") is None:
            raise InputError(f"row {number} has no `id`, which the CSV needs", hint="--format jsonl does without")
        yield row


def _write(rows: Any, out: Path | None, format_: RowFormat) -> None:
    from nlpx.data.rows.writing import RowWriter
    from nlpx.io import write_atomically

    fields = ["id", "label"] if format_ == "csv" else None
    if out is None:
        RowWriter(sys.stdout, format=format_, fields=fields, flush=not sys.stdout.isatty()).write_all(rows)
        return
    with write_atomically(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        RowWriter(stream, format=format_, fields=fields).write_all(rows)
