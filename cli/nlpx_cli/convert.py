"""`nlpx convert`: from any checkpoint nlpx reads to one that transformers or nlpx loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlpx_cli.console import Console
from nlpx_cli.inspect import Checkpoint, Family
from nlpx_cli.options import Json, Quiet, complete_overrides, writable

Format = Literal["hf", "nlpx", "onnx", "ctranslate2"]
StoredType = Literal["float32", "bfloat16", "float16", "int8"]


def register(app: typer.Typer) -> None:
    """Add `nlpx convert`."""
    app.command("convert")(convert)


def convert(
    source: Checkpoint,
    target: Annotated[Path, typer.Argument(help="The directory to write.", metavar="DST", callback=writable)],
    to: Annotated[
        Format,
        typer.Option("--to", help="hf: transformers; nlpx: everything; onnx: a graph; ctranslate2: for generate."),
    ] = "hf",
    family: Family = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a setting, such as pooler=none. Repeatable.",
            metavar="KEY=VALUE",
            autocompletion=complete_overrides,
        ),
    ] = None,
    allow_partial: Annotated[
        list[str] | None,
        typer.Option("--allow-partial", help="Parameters that may be missing. Repeatable.", metavar="PATTERN"),
    ] = None,
    dtype: Annotated[
        StoredType, typer.Option("--dtype", help="How weights are stored; int8 with onnx and ctranslate2.")
    ] = "float32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DST if it exists.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert a checkpoint to a directory and print its path.

    With --to hf, transformers computes the same outputs from it. A model that
    transformers cannot hold is refused with the feature it lacks. With --to
    onnx, embed, similar and evaluate sts run it by ONNX Runtime; with --to
    ctranslate2, generate runs a causal model or a T5 by CTranslate2.

    \b
    Examples:
      nlpx convert chinese_L-12_H-768_A-12 bert-hf --to hf
      nlpx convert bert-hf bert-long --to nlpx --set position=hierarchical
      nlpx convert char-tiny char-onnx --to onnx --dtype int8
    """
    from nlpx.jobs.convert import convert

    console = Console(json=json, quiet=quiet)
    written = convert(
        source,
        target,
        to=to,
        family=family,
        overwrite=overwrite,
        allow_partial=tuple(allow_partial or ()),
        choices=_choices(set_ or []),
        dtype=dtype,
    )
    heads = ", ".join(written["heads"]) or "none"
    console.note(f"family {written['family']}, heads: {heads}, tokenizer: {written['tokenizer'] or 'none'}")
    for name in written["unexpected"]:
        console.note(f"left out: {name}")
    console.result(written, value=target)


def _choices(arguments: list[str]) -> dict[str, Any]:
    from nlpx.errors import UsageError

    choices: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {argument}: expected KEY=VALUE", hint="for example --set position=hierarchical")
        choices[key.strip()] = _parsed(value)
    return choices


def _parsed(value: str) -> Any:
    import yaml

    return yaml.safe_load(value)
