"""`nlpx summarize`: long texts in, summaries out, and how good they are."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Device, Encoding, Field, InputFormat, Json, Quiet, complete_runs, writable_file
from nlpx_cli.summarize_evaluate import evaluate
from nlpx_cli.summarize_train import train

if TYPE_CHECKING:
    from nlpx.jobs.summarize import Summary
    from nlpx.spaces.extract import Size

MethodName = Literal["textrank", "lead"]
Sentences = Annotated[
    int | None, typer.Option("--sentences", help="Sentences of a summary.  [default: 3]", min=1, metavar="N")
]
Characters = Annotated[
    int | None, typer.Option("--characters", help="Characters of a summary at most, instead.", min=1, metavar="N")
]

_COLOURS, _BRACKETS = ("\033[1;7m", "\033[0m"), ("【", "】")


def register(app: typer.Typer) -> None:
    """Add `nlpx summarize`; without a command of the group its words are those of `write`, see `names.py`."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)
    group.command("write")(write)
    group.command("train")(train)
    group.command("evaluate")(evaluate)
    app.add_typer(group, name="summarize")


_HELP = """Summarise long texts, and measure summaries.

`nlpx summarize FILE` is short for `nlpx summarize write FILE`.

\b
Examples:
  nlpx summarize texts.txt
"""


def write(
    file: Annotated[
        str | None, typer.Argument(help="Documents: rows, or one a line; - for stdin.", metavar="[FILE|-]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="A run of `summarize train`.", metavar="RUN", autocompletion=complete_runs),
    ] = None,
    method: Annotated[
        MethodName | None, typer.Option("--method", help="Without a model: by rank or by order.  [default: textrank]")
    ] = None,
    sentences: Sentences = None,
    characters: Characters = None,
    field: Field = "text",
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    highlight: Annotated[
        bool, typer.Option("--highlight", help="Print the documents, with what was taken marked.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", callback=writable_file, help="Also write such a page here.", metavar="FILE"),
    ] = None,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take the sentences of each document that sum it up.

    One line a document on stdout, in order, as it is read; with --json the
    row with `generated` and `sentences`: their places, texts and scores.

    \b
    Examples:
      nlpx summarize texts.txt --sentences 2
      nlpx summarize corpus.jsonl --characters 60 --json | head -3
      cat corpus.txt | nlpx summarize - --method lead --sentences 1
      nlpx summarize write titles.jsonl --highlight --html marked.html
    """
    from nlpx.errors import UsageError
    from nlpx.jobs.summarize import Report, by_run, summarize, without_model
    from nlpx.jobs.summarize.documents import Documents
    from nlpx.jobs.summarize.marked import page

    console = Console(json=json, quiet=quiet)
    if file is None and sys.stdin.isatty():
        hint = "name a file, or pipe documents into `nlpx summarize -`"
        raise UsageError("no documents: stdin is a terminal", hint=hint)
    report = Report()
    given = Documents(file or "-", field, format=input_format, encoding=encoding)
    size = size_of(sentences, characters)
    if model is None:
        take = without_model(method or "textrank", size)
    elif method is not None:
        raise UsageError(f"--model {model} and --method {method} both say what is taken", hint="give one of them")
    else:
        take = by_run(model, size if sentences or characters else None, device=device or "auto")
    found = summarize(given, take, report)
    with nullcontext() if html is None else page(html) as marked:
        for summary in found:
            _print(console, summary, highlight=highlight)
            if marked is not None:
                marked.add(summary)
    for sentence in report.notes():
        console.note(sentence)


def size_of(sentences: int | None, characters: int | None) -> Size:
    """The size that the options say."""
    from nlpx.errors import UsageError
    from nlpx.spaces.extract import DEFAULT_SENTENCES, Size

    if sentences is not None and characters is not None:
        raise UsageError("--sentences and --characters both say how long a summary is", hint="give one of them")
    return Size(sentences or DEFAULT_SENTENCES, characters)


def _print(console: Console, summary: Summary, *, highlight: bool) -> None:
    if console.mode == "json":
        console.rows([summary.row()])
        return
    if highlight:
        _print_marked(summary)
    else:
        console.text(" ".join(summary.text.split("\n")))
    sys.stdout.flush()


def _print_marked(summary: Summary) -> None:
    """On a terminal the codes that mark must pass, and those of the text must not."""
    from nlpx.jobs.summarize.marked import parts
    from nlpx_cli.terminal import clean, raw_stdout

    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    (before, after), stream = (_COLOURS, raw_stdout()) if coloured else (_BRACKETS, sys.stdout)
    for text, _, taken in parts(summary):
        shown = clean(text) if coloured else text
        stream.write(f"{before}{shown}{after}" if taken else shown)
    stream.write("\n\n")
