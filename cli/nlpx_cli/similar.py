"""`nlpx similar`: how alike texts or vectors are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import (
    Device,
    Encoder,
    Encoding,
    Field,
    InputFormat,
    Json,
    PairFields,
    Pooling,
    PromptName,
    Quiet,
    TextLength,
    two_fields,
)

EngineName = Literal["exact", "faiss", "usearch"]

Whitening = Annotated[
    Path | None, typer.Option("--whitening", help="Apply this map to all vectors first.", metavar="FILE")
]


def register(app: typer.Typer) -> None:
    """Add `nlpx similar` and its three commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    for command in (score, search, pairs):
        group.command(command.__name__)(command)
    app.add_typer(group, name="similar", help="Compare texts or vectors: score pairs, search, find duplicates.")


def score(
    file: Annotated[
        str | None, typer.Argument(help="Pairs of texts, or - for stdin; or one side.", metavar="[FILE|-]")
    ] = None,
    second: Annotated[
        str | None, typer.Argument(help="The other side: row i is compared with row i.", metavar="[FILE]")
    ] = None,
    field: PairFields = None,
    model: Encoder = "sim-tiny",
    pooling: Pooling = None,
    prompt_name: PromptName = None,
    whitening: Whitening = None,
    input_format: InputFormat = None,
    max_length: TextLength = None,
    encoding: Encoding = "utf-8",
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score pairs of texts by their cosine.

    Pairs are rows, or lines with a tab between two texts; the cosine of each
    is printed, in order. Two files are two sides: .npy vectors, or texts.

    \b
    Examples:
      nlpx similar score rows.jsonl
      printf '春天来了\\t春天到了\\n' | nlpx similar score -
      nlpx similar score emb.npy new.npy --quiet
    """
    from nlpx.errors import UsageError
    from nlpx.jobs.similar import Settings, score

    console = Console(json=json, quiet=quiet)
    if file is None and sys.stdin.isatty():
        raise UsageError("no pairs: stdin is a terminal", hint="name a file, or pipe pairs into the command")
    settings = Settings(
        model,
        pooling,
        whitening,
        _one_field(field) if second else "text",
        input_format,
        encoding,
        max_length,
        device or "auto",
        prompt_name,
    )
    batches = score(file or "-", second, settings, console, fields=None if second else two_fields(field))
    _print(batches, json=json, line=lambda row: _number(row["cosine"]))


def _one_field(names: list[str] | None) -> str:
    from nlpx.errors import UsageError

    if names is not None and len(names) > 1:
        raise UsageError("--field is given twice, and two files are two sides", hint="give it once, or one file")
    return names[0] if names else "text"


def search(
    index: Annotated[str, typer.Option("--index", help="The .npy vectors to search in.", metavar="FILE")],
    queries: Annotated[
        str | None, typer.Argument(help="Texts or .npy vectors, or - for stdin.", metavar="[FILE|-]")
    ] = None,
    top: Annotated[int | None, typer.Option("--top", help="Hits of a query.  [default: 10]", min=1)] = None,
    texts: Annotated[
        Path | None, typer.Option("--texts", help="The texts of the index, shown beside the hits.", metavar="FILE")
    ] = None,
    engine: Annotated[EngineName, typer.Option("--engine", help="What searches; usearch is approximate.")] = "exact",
    model: Encoder = "sim-tiny",
    pooling: Pooling = None,
    prompt_name: PromptName = None,
    whitening: Whitening = None,
    whitened_index: Annotated[
        bool, typer.Option("--whitened-index", help="The map was applied to the index already.")
    ] = False,
    field: Field = "text",
    input_format: InputFormat = None,
    max_length: TextLength = None,
    encoding: Encoding = "utf-8",
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search the nearest vectors of an index.

    Prints query, rank, index and cosine, with tabs between; queries and rows
    of the index are counted from 0. Exact, in parts: any index size will do.

    \b
    Examples:
      nlpx similar search new.npy --index emb.npy --top 3
      nlpx similar search new.npy --index emb.npy --json | jq .cosine
    """
    from nlpx.errors import UsageError
    from nlpx.jobs.similar import SearchOptions, Settings, search

    console = Console(json=json, quiet=quiet)
    if queries is None and sys.stdin.isatty():
        raise UsageError("no queries: stdin is a terminal", hint="name a file, or pipe texts into the command")
    settings = Settings(
        model, pooling, whitening, field, input_format, encoding, max_length, device or "auto", prompt_name
    )
    options = SearchOptions(top, texts, engine, whitened_index)
    _print(search(queries or "-", index, settings, options, console), json=json, line=_columns)


def pairs(
    file: Annotated[
        str | None, typer.Argument(help="Texts or .npy vectors, or - for stdin.", metavar="[FILE|-]")
    ] = None,
    threshold: Annotated[float, typer.Option("--threshold", help="The smallest cosine to print.", min=-1, max=1)] = 0.9,
    texts: Annotated[
        Path | None, typer.Option("--texts", help="The texts of the vectors, shown beside.", metavar="FILE")
    ] = None,
    model: Encoder = "sim-tiny",
    pooling: Pooling = None,
    prompt_name: PromptName = None,
    whitening: Whitening = None,
    field: Field = "text",
    input_format: InputFormat = None,
    max_length: TextLength = None,
    encoding: Encoding = "utf-8",
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find all pairs of texts that are nearly the same.

    Prints two row numbers, counted from 0, and their cosine, with tabs
    between, as they are found. Every pair is compared, exactly.

    \b
    Examples:
      nlpx similar pairs emb.npy --threshold 0.8
      nlpx similar pairs corpus.txt --texts corpus.txt | head -1
    """
    from nlpx.errors import UsageError
    from nlpx.jobs.similar import Settings, pairs

    console = Console(json=json, quiet=quiet)
    if file is None and sys.stdin.isatty():
        raise UsageError("nothing to compare: stdin is a terminal", hint="name a file, or pipe texts into the command")
    settings = Settings(
        model, pooling, whitening, field, input_format, encoding, max_length, device or "auto", prompt_name
    )
    _print(pairs(file or "-", settings, console, threshold=threshold, texts=texts), json=json, line=_columns)


def _print(batches: Iterator[list[dict[str, Any]]], *, json: bool, line: Callable[[dict[str, Any]], str]) -> None:
    from json import dumps

    for rows in batches:
        for row in rows:
            print(dumps(row, ensure_ascii=False) if json else line(row))
        sys.stdout.flush()  # the reader of a pipe need not wait for the next


def _columns(row: dict[str, Any]) -> str:
    from nlpx.data.corpus.count_tables import escape

    return "\t".join(_number(value) if isinstance(value, float) else escape(str(value)) for value in row.values())


def _number(cosine: float) -> str:
    return f"{cosine:.6f}"
