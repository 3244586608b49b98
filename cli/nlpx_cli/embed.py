"""`nlpx embed`: a vector for every text."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import (
    Encoder,
    Encoding,
    Field,
    InputFormat,
    Json,
    Pooling,
    PromptName,
    Quiet,
    TextLength,
    complete_devices,
    writable,
)

PrecisionName = Literal["auto", "float32", "bfloat16"]
FloatName = Literal["float32", "float16"]


def register(app: typer.Typer) -> None:
    """Add `nlpx embed`."""
    app.command("embed")(embed)


def embed(
    files: Annotated[
        list[str] | None, typer.Argument(help="Texts, one a line or row, or - for stdin.", metavar="[FILE|-]...")
    ] = None,
    model: Encoder = "sim-tiny",
    pooling: Pooling = None,
    normalize: Annotated[
        bool | None,
        typer.Option("--normalize/--no-normalize", help="Length 1 for every vector.  [default: as the model's own]"),
    ] = None,
    prompt_name: PromptName = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", callback=writable, help="The .npy to write, or -.  [default: - in a pipe]", metavar="FILE"
        ),
    ] = None,
    field: Field = "text",
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    dtype: Annotated[FloatName, typer.Option("--dtype", help="Of the numbers that are written.")] = "float32",
    shard: Annotated[
        int | None, typer.Option("--shard", help="Files of so many rows: emb-00000.npy, ...", min=1, metavar="ROWS")
    ] = None,
    max_length: TextLength = None,
    batch_tokens: Annotated[
        int | None, typer.Option("--batch-tokens", help="Of one forward pass.  [default: by device]", min=1)
    ] = None,
    precision: Annotated[
        PrecisionName, typer.Option("--precision", help="auto: bfloat16 where the hardware has it.")
    ] = "auto",
    device: Annotated[
        str,
        typer.Option(
            "--device", help="auto, cpu, cuda, cuda:N or mps.", metavar="NAME", autocompletion=complete_devices
        ),
    ] = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn every line or row of text into a vector.

    Writes a .npy array, one row a text, in order, and prints its path. Runs of
    any length, in constant memory; after a kill, the same command continues.

    \b
    Examples:
      nlpx embed corpus.txt -o emb.npy
      nlpx embed corpus.jsonl --field text --pooling cls -o emb.npy
      cat texts.txt | nlpx embed - | nlpx whiten - -o w.npy
    """
    from nlpx.errors import UsageError
    from nlpx.jobs.embed import Options, embed

    console = Console(json=json, quiet=quiet)
    if not files and sys.stdin.isatty():
        raise UsageError("no texts: stdin is a terminal", hint="name a file, or pipe texts into the command")
    if out in (None, "-") and sys.stdout.isatty():
        raise UsageError("vectors are no text for a terminal", hint="-o emb.npy writes them to a file")
    options = Options(
        model=model,
        pooling=pooling,
        field=field,
        input_format=input_format,
        encoding=encoding,
        dtype=dtype,
        shard=shard,
        max_length=max_length,
        batch_tokens=batch_tokens,
        precision=precision,
        device=device,
        normalize=normalize,
        prompt_name=prompt_name,
    )
    facts = embed(files or ["-"], out or "-", options, console)
    if facts is None:  # another process of the group has it
        return
    console.note(_text(facts))
    if facts["paths"] != ["-"]:
        console.result(facts, value="\n".join(facts["paths"]))


def _text(facts: dict[str, Any]) -> str:
    return (
        f"{facts['rows']:,} vectors of {facts['columns']} numbers by {facts['model']}, pooling {facts['pooling']}, "
        f"{facts['dtype']}, computed in {facts['precision']} on {facts['device']}"
    )
