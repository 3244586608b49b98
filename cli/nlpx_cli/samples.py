"""`nlpx samples`: write small files to try every command on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Json, Quiet, writable


def register(app: typer.Typer) -> None:
    """Add `nlpx samples`."""
    app.command("samples")(samples)


def samples(
    folder: Annotated[
        Path, typer.Argument(help="Where to; made if it is not there.", metavar="[DIR]", callback=writable)
    ] = Path("samples"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files of an earlier call.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write small files to try every command on.

    Texts, headlines with labels, pairs of sentences, questions and
    Xiangqi games, all made for this package.

    \b
    Examples:
      nlpx samples
      nlpx samples tryout --quiet
      nlpx finetune --task classify --data samples/topics
    """
    from nlpx.jobs.samples import write_samples

    console = Console(json=json, quiet=quiet)
    written = write_samples(folder, overwrite=overwrite)
    console.table(["file", "rows", "what"], written)
    files = [sample._asdict() for sample in written]
    console.result({"folder": str(folder), "files": files}, value=folder)
