"""`nlpx evaluate`: how good a model is at what it was trained for."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from nlpx.seed import LARGEST_SEED
from nlpx_cli.console import Console
from nlpx_cli.evaluate_sts import sts
from nlpx_cli.options import Device, Encoding, Field, InputFormat, Json, Quiet, complete_models

Words = Annotated[
    list[str] | None,
    typer.Argument(
        help="The model, unless --model names it; then texts, or - for stdin.",
        metavar="[MODEL] [FILE...|-]",
        autocompletion=complete_models,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A checkpoint directory, a run, a shipped model, or a hub name.  [default: the first argument]",
        metavar="MODEL",
        autocompletion=complete_models,
    ),
]


def register(app: typer.Typer) -> None:
    """Add `nlpx evaluate`."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command("mlm")(mlm)
    group.command("sts")(sts)
    app.add_typer(group, name="evaluate", help="Measure a model: hidden words, similarity of sentences.")


def mlm(
    words: Words = None,
    model: Model = None,
    field: Field = "text",
    by: Annotated[
        str | None, typer.Option("--by", help="Also one line per value of this field.", metavar="FIELD")
    ] = None,
    rate: Annotated[float, typer.Option("--rate", help="Fraction of the words to hide.", min=0.01, max=0.9)] = 0.15,
    max_length: Annotated[
        int, typer.Option("--max-length", help="Tokens of a row; longer texts make several.", min=8)
    ] = 128,
    pseudo_rows: Annotated[
        int, typer.Option("--pseudo-rows", help="Rows for the pseudo-perplexity; 0: leave it out.", min=0)
    ] = 100,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only so many texts of each file.", metavar="N", min=1)
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            "--held-out", help="Only the texts that pretraining held out at this fraction.", metavar="FRACTION", max=1
        ),
    ] = None,
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    seed: Annotated[int, typer.Option("--seed", help="Which words are hidden.", min=0, max=LARGEST_SEED)] = 7,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how well a model restores hidden words.

    Whole words are hidden, the same ones at every call; accuracy and
    perplexity are over their tokens. The pseudo-perplexity hides one token
    at a time; bits per character compare models of different vocabularies.

    \b
    Examples:
      nlpx evaluate mlm path/to/checkpoint corpus.jsonl --by domain
      cat corpus.txt | nlpx evaluate mlm path/to/checkpoint - --quiet
    """
    from nlpx.errors import UsageError
    from nlpx.jobs.evaluate.mlm import Settings, evaluate

    console = Console(json=json, quiet=quiet)
    model, files = _model_and_files(model, words)
    if not files and sys.stdin.isatty():
        raise UsageError("no texts: stdin is a terminal", hint="name a file, or pipe texts into the command")
    settings = Settings(
        field=field,
        by=by,
        rate=rate,
        max_length=max_length,
        pseudo_rows=pseudo_rows,
        limit=limit,
        held_out=held_out,
        encoding=encoding,
        input_format=input_format,
        seed=seed,
    )
    result = evaluate(model, files or ["-"], settings, device=device or "auto", messages=console)
    if json:
        console.result(result, value="")
    elif quiet:
        console.result(result, value=f"{result['accuracy']:.4f}")
    else:
        console.listing(_table(result))


def _model_and_files(model: str | None, words: list[str] | None) -> tuple[str, list[str]]:
    from nlpx.errors import UsageError

    if model is not None:
        return model, words or []
    if not words:
        raise UsageError("no model to evaluate", hint="nlpx evaluate mlm MODEL FILE")
    return words[0], words[1:]


def _table(result: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [("all", result)]
    for kind, groups in result["groups"].items():
        rows += [(f"{kind} {name}", group) for name, group in groups.items()]
    columns = ("rows", "targets", "accuracy", "perplexity", "pseudo_perplexity", "bits_per_character")
    return [{"texts": name} | {column: group[column] for column in columns} for name, group in rows]
