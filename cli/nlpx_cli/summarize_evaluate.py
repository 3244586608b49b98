"""`nlpx summarize evaluate`: part of the group of `summarize.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from nlpx.seed import LARGEST_SEED
from nlpx_cli.console import Console
from nlpx_cli.options import Encoding, Field, InputFormat, Json, Quiet, writable_file

CountingName = Literal["sets", "multisets"]


def evaluate(
    file: Annotated[
        str | None, typer.Argument(help="Rows with a text and its summary; - for stdin.", metavar="[FILE|-]")
    ] = None,
    field: Field = "text",
    summary_field: Annotated[
        str, typer.Option("--summary-field", help="The field with the summary that people wrote.", metavar="NAME")
    ] = "summary",
    split: Annotated[
        str | None, typer.Option("--split", help="Only rows whose `split` is this.", metavar="NAME")
    ] = None,
    sentences: Annotated[
        int | None, typer.Option("--sentences", help="Length of the summaries without a model.", min=1, metavar="N")
    ] = None,
    characters: Annotated[
        int | None, typer.Option("--characters", help="The same.  [default: the mean of people's]", min=1, metavar="N")
    ] = None,
    counting: Annotated[
        CountingName, typer.Option("--ngrams-as", help="Count each n-gram of a text once, or as often as it stands.")
    ] = "sets",
    seed: Annotated[int, typer.Option("--seed", help="Of the resamples.", min=0, max=LARGEST_SEED)] = 7,
    plot: Annotated[
        Path | None, typer.Option("--plot", callback=writable_file, help="Draw it here, as PNG.", metavar="FILE")
    ] = None,
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare summaries with those that people wrote.

    What is judged is the field `generated`, which `nlpx summarize --json`
    writes; without it only TextRank, the beginning of the texts, and the
    clauses that people's summaries are nearest to.

    \b
    Examples:
      nlpx summarize evaluate articles.jsonl
    """
    from nlpx.errors import UsageError
    from nlpx.jobs.summarize.documents import Documents
    from nlpx.jobs.summarize.evaluate import Settings, evaluate
    from nlpx.report.summaries import plot_summaries, rows
    from nlpx_cli.summarize import size_of

    console = Console(json=json, quiet=quiet)
    if file is None and sys.stdin.isatty():
        raise UsageError("no rows: stdin is a terminal", hint="name a file, or pipe rows into the command")
    size = None if sentences is None and characters is None else size_of(sentences, characters)
    given = Documents(file or "-", field, summary_field, input_format, encoding, split)
    result = evaluate(given, Settings(size, counting, seed), console)
    if plot is not None:
        plot_summaries(result, plot)
    console.note(
        f"F of ROUGE by characters, n-grams as {result['ngrams_as']}; main: {result['main_is']}, with its 95 % "
        f"interval over {result['documents']:,} documents; words by {result['words_by']}"
    )
    if json:
        console.result(result, value="")
    elif quiet:
        console.result(result, value=f"{result['systems'][0]['characters']['main']:.4f}")
    else:
        console.listing(list(rows(result)))
