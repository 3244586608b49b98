"""`nlpx predict`: label rows with a fine-tuned run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Device, InputFormat, Quiet, complete_runs, writable

OutFormat = Literal["jsonl", "csv", "tsv", "parquet"]
BadRow = Literal["fail", "skip"]


def register(app: typer.Typer) -> None:
    """Add `nlpx predict`."""
    app.command("predict")(predict)


def predict(
    run: Annotated[
        str | None,
        typer.Argument(
            help="A run, its name in runs/, or `last`, unless --model names it.",
            metavar="[RUN]",
            autocompletion=complete_runs,
        ),
    ] = None,
    file: Annotated[str | None, typer.Argument(help="Rows, or - for stdin.", metavar="[FILE|-]")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="The run.  [default: the first argument]", metavar="RUN", autocompletion=complete_runs
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", callback=writable, help="Write here instead of stdout.", metavar="FILE"),
    ] = None,
    format_: Annotated[
        OutFormat | None, typer.Option("--format", help="Of the output.  [default: by the suffix of -o, else jsonl]")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Write only these, in this order: id,label.", metavar="NAMES")
    ] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Add that of every class.")] = False,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Add the K likeliest classes.", metavar="K", min=1)
    ] = None,
    out_encoding: Annotated[
        str, typer.Option("--out-encoding", help="Of the output: utf-8-sig and gb18030 open well in Excel.")
    ] = "utf-8",
    field: Annotated[
        list[str] | None,
        typer.Option("--field", help="Where a text is, if not where the run had it. Twice for pairs.", metavar="NAME"),
    ] = None,
    input_format: InputFormat = None,
    encoding: Annotated[
        str, typer.Option("--encoding", help="Of the input, such as gb18030, or auto.", metavar="NAME")
    ] = "utf-8",
    on_bad_row: Annotated[BadRow, typer.Option("--on-bad-row", help="Stop, or leave the row out.")] = "fail",
    device: Device = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout, and errors as JSON on stderr.")] = False,
    quiet: Quiet = False,
) -> None:
    """Label rows with a run and print them, in order.

    Each row comes back with `label` and `probability` behind its own columns.
    Rows are read as finetune reads them; every line of plain text is a row.

    \b
    Examples:
      nlpx predict last rows.jsonl > answers.jsonl
      nlpx predict last rows.jsonl -o answers.csv --out-encoding utf-8-sig
      cat rows.jsonl | nlpx predict runs/my-run - | jq .probability
      nlpx predict last test_with_id.txt --columns id,label -o answers.csv
    """
    from nlpx.data.rows.reading import RowReport
    from nlpx.errors import UsageError
    from nlpx.jobs.predict import predict

    console = Console(json=json, quiet=quiet)
    run, file = _run_and_file(model, run, file)
    if file is None and sys.stdin.isatty():
        raise UsageError("no rows: stdin is a terminal", hint="name a file, or pipe rows into the command")
    chosen = _format(out, format_, out_encoding, as_json=json)
    report = RowReport()
    rows = predict(
        run,
        file or "-",
        device=device or "auto",
        encoding=encoding,
        format=input_format,
        on_bad_row=on_bad_row,
        fields=field,
        every_class=probabilities,
        top_k=top_k,
        report=report,
    )
    _write(rows, out, chosen, _names(columns), out_encoding)
    if report.num_skipped:
        console.warn(f"{report.num_skipped} bad rows were left out; the first: {report.errors[0]}")
    if report.num_without_text:
        what = "1 row has no text" if report.num_without_text == 1 else f"{report.num_without_text:,} rows have no text"
        console.warn(f"{what}: the labels there come from nothing")


def _run_and_file(model: str | None, first: str | None, second: str | None) -> tuple[str, str | None]:
    from nlpx.errors import UsageError

    if model is not None and second is not None:
        raise UsageError(f"--model {model} and the argument {first} both name the run", hint="give one of them")
    if model is not None:
        return model, first
    if first is None:
        raise UsageError("no run to predict with", hint="nlpx predict last FILE; `nlpx runs list` shows the runs")
    return first, second


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _format(out: Path | None, chosen: OutFormat | None, encoding: str, *, as_json: bool) -> OutFormat:
    """The format of the output. Raises UsageError for one that cannot go there, before any work."""
    from nlpx.data.opening.encodings import AUTO, check_encoding
    from nlpx.data.rows.writing import out_format_of
    from nlpx.errors import UsageError

    check_encoding(encoding)
    if encoding == AUTO:
        raise UsageError("--out-encoding auto: nothing tells the encoding of an output", hint="--out-encoding utf-8")
    if out is not None and out.is_dir():
        raise UsageError(f"{out} is a folder", hint=f"-o {out / 'answers.jsonl'} names a file in it")
    found: OutFormat = "jsonl" if as_json else out_format_of(out, chosen)
    if found == "parquet" and out is None:
        raise UsageError("Parquet cannot go to stdout", hint="-o answers.parquet")
    return found


def _write(
    rows: Iterator[dict[str, Any]], out: Path | None, format_: OutFormat, columns: list[str] | None, encoding: str
) -> None:
    from nlpx.data.rows.writing import RowWriter, encodable, write_rows
    from nlpx.jobs.predict.answers import flat

    rows = rows if format_ == "jsonl" else flat(rows)
    rows = rows if columns is None else _with(columns, rows)
    if out is not None:
        write_rows(rows, out, format=format_, fields=columns, encoding=encoding)
        return
    if encoding != "utf-8" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding=encoding)
    with encodable(encoding):
        flush = not sys.stdout.isatty()
        RowWriter(sys.stdout, format=format_, fields=columns, flush=flush).write_all(rows)  # type: ignore[arg-type]


def _with(columns: list[str], rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from nlpx.errors import InputError

    for number, row in enumerate(rows, start=1):
        missing = next((name for name in columns if row.get(name) is None), None)
        if missing is not None:
            raise InputError(f"row {number} has no `{missing}`", hint=f"its columns: {', '.join(row)}")
        yield row
