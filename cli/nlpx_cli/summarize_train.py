"""`nlpx summarize train`: part of the group of `summarize.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import (
    DryRun,
    Encoder,
    Encoding,
    Epochs,
    InputFormat,
    Json,
    Out,
    Overwrite,
    Quiet,
    Resume,
    Seed,
    Set,
)

if TYPE_CHECKING:
    from nlpx.configuration.presets import Resolved

DEFAULT_MODEL, DEFAULT_ENCODING = "sim-tiny", "utf-8"

StageName = Literal["label", "vectorize", "extract", "build"]


def train(
    data: Annotated[
        str | None, typer.Option("--data", help="Rows with a text and its summary.", metavar="FILE")
    ] = None,
    field: Annotated[
        str | None, typer.Option("--field", help="The field that holds the text.  [default: text]", metavar="NAME")
    ] = None,
    summary_field: Annotated[
        str | None, typer.Option("--summary-field", help="That of the summary.  [default: summary]", metavar="NAME")
    ] = None,
    input_format: InputFormat = None,
    encoding: Encoding = DEFAULT_ENCODING,
    model: Encoder = DEFAULT_MODEL,
    folds: Annotated[
        int | None, typer.Option("--folds", help="Extractors, a fold each.  [default: 15]", min=2, metavar="N")
    ] = None,
    epochs: Epochs = None,
    stage: Annotated[
        StageName | None, typer.Option("--stage", help="Only this one.  [default: all, in this order]")
    ] = None,
    set_: Set = None,
    seed: Seed = None,
    out: Out = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn which clauses summaries are made from.

    Clauses are labelled by what people's summaries are nearest to, embedded
    by a frozen encoder, and learned by gated convolutions over folds, so that
    every extract is by one that has not seen its document. What is done
    stays: --resume goes on.

    \b
    Examples:
      nlpx summarize train --data articles.jsonl --dry-run
      nlpx summarize train --data articles.jsonl --folds 3 --out runs/sums
    """
    from nlpx.configuration.presets import resolve
    from nlpx.errors import UsageError
    from nlpx.jobs.summarize.settings import STAGES, Config
    from nlpx.jobs.summarize.train import plan, train
    from nlpx.runs.running import RunOptions
    from nlpx_cli.training import refuse_beside_resume, resolve_resumed, show_plan_of

    console = Console(json=json, quiet=quiet)
    flags: dict[str, Any] = {
        "data": data,
        "text_field": field,
        "summary_field": summary_field,
        "format": input_format,
        "folds": folds,
        "epochs": epochs,
        "seed": seed,
    }
    resolved: Resolved
    if resume is not None:
        refuse_beside_resume(preset=None, out=out, overwrite=overwrite)
        resolved = resolve_resumed(Config, resume, set_ or (), flags | _given(model, encoding), changeable=())
    else:
        if data is None:
            raise UsageError("no documents to train on", hint="--data FILE names rows with a text and its summary")
        resolved = resolve(Config, overrides=set_ or (), flags=flags | {"model": model, "encoding": encoding})
    options = RunOptions(out=out, overwrite=overwrite, resume=resume)
    if dry_run:
        show_plan_of(plan(resolved, options, console), console)
        return
    found = train(resolved, options, (stage,) if stage else STAGES, console)
    if found["score"] is not None:
        console.note(f"main ROUGE of the extracts {found['score']:.4f}; rows for a generator: {found['rows']}")
        console.hint(f"nlpx summarize write FILE --model {found['run']}")
    console.result(found, value=found["run"])


def _given(model: str, encoding: str) -> dict[str, str | None]:
    """What a resumed run is asked to have: where an option has its default, the run decides."""
    return {
        "model": None if model == DEFAULT_MODEL else model,
        "encoding": None if encoding == DEFAULT_ENCODING else encoding,
    }
