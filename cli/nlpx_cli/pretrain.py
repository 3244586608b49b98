"""`nlpx pretrain`: train a language model on plain texts, from nothing or from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from nlpx.configuration import registry
from nlpx_cli.console import Console
from nlpx_cli.options import Device, DryRun, Json, Out, Overwrite, Preset, Quiet, Resume, Seed, Set, Verbose
from nlpx_cli.training import (
    overridden,
    refuse_beside_resume,
    resolve_new,
    resolve_resumed,
    show_finished,
    show_plan,
)


def complete_objectives(incomplete: str) -> list[str]:
    """Names of objectives that learn from plain texts."""
    return [name for name in registry.plugins("objectives") if name.startswith(incomplete)]


Data = Annotated[
    list[str] | None,
    typer.Option("--data", help="A file, folder, pattern, URL, or - for stdin. Repeatable.", metavar="FILE"),
]
More = Annotated[
    list[str] | None,
    typer.Argument(help="More of --data, as a shell writes a pattern out.", metavar="FILE", hidden=True),
]
Model = Annotated[
    str | None, typer.Option("--model", help="A checkpoint directory, a hub name, or `new`.  [default: new]")
]
Tokenizer = Annotated[
    str | None,
    typer.Option("--tokenizer", help="A directory or vocab.txt.  [default: the model's, or characters of the corpus]"),
]
Objective = Annotated[
    list[str] | None,
    typer.Option(
        "--objective",
        help="What to learn, with its weight, in place of the preset's. Repeatable.",
        metavar="NAME[=WEIGHT]",
        autocompletion=complete_objectives,
    ),
]
Field = Annotated[
    str | None, typer.Option("--field", help="Of rows, which holds the text.  [default: text]", metavar="NAME")
]
# Short for data.encoding and data.format; hidden because the errors that call for them name them.
Encoding = Annotated[str | None, typer.Option("--encoding", help="Of the files, such as gb18030.", hidden=True)]
Format = Annotated[str | None, typer.Option("--format", help="Of files whose name does not tell it.", hidden=True)]


def register(app: typer.Typer) -> None:
    """Add `nlpx pretrain`."""
    app.command("pretrain")(pretrain)


def pretrain(
    more: More = None,
    data: Data = None,
    model: Model = None,
    tokenizer: Tokenizer = None,
    objective: Objective = None,
    field: Field = None,
    encoding: Encoding = None,
    format: Format = None,
    preset: Preset = None,
    set_: Set = None,
    seed: Seed = None,
    device: Device = None,
    out: Out = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Pretrain a model on plain texts and print the run folder.

    A text is a line, or a field of a row (jsonl, csv, tsv, parquet, also
    compressed). Objectives: mlm lm unilm sop rtd, or several by weight.
    checkpoints/best of the run is a model for every other command.

    \b
    Examples:
      nlpx pretrain --data corpus.txt
      nlpx pretrain --data corpus.jsonl --model path/to/checkpoint
      nlpx pretrain --data corpus.txt --objective mlm --objective unilm=0.5
      nlpx pretrain --resume last --set train.steps=40
    """
    from nlpx.configuration.presets import Flag
    from nlpx.jobs.pretrain import Config, RunOptions, plan, preset_for, pretrain

    console = Console(json=json, quiet=quiet, verbose=verbose)
    options = RunOptions(out=out, overwrite=overwrite, resume=resume)
    flags = {
        "objectives": Flag(_mix(objective), "--objective", yields=True),
        "data.paths": Flag([*(data or []), *(more or [])] or None, "--data"),
        "data.field": field,
        "data.format": format,
        "data.encoding": encoding,
        "model.name": Flag(model, "--model"),
        "model.tokenizer": tokenizer,
        "seed": seed,
        "device": device,
    }
    if resume is None:
        if preset is None:
            preset = preset_for(model or overridden(set_ or [], "model.name"))
            console.note(f"preset {preset}")
        resolved = resolve_new(Config, preset, set_ or [], flags)
    else:
        refuse_beside_resume(preset=preset, out=out, overwrite=overwrite)
        resolved = resolve_resumed(Config, resume, set_ or [], flags)
    if dry_run:
        show_plan(plan(resolved, options, console), console)
        return
    finished = pretrain(resolved, options, console)
    if finished is not None:
        following = f"nlpx finetune --model {finished.run}/checkpoints/best"
        show_finished(finished, console, score="best score", following=following)


def _mix(words: Sequence[str] | None) -> list[dict[str, Any]] | None:
    """Read `mlm` and `unilm=0.5` as the list of objectives that replaces the preset's."""
    from nlpx.errors import UsageError

    if not words:
        return None
    mix: dict[str, Any] = {}
    for word in words:
        name, _, weight = word.partition("=")
        if name in mix:
            raise UsageError(f"--objective {name} is given twice", hint="give each objective once, with its weight")
        try:
            mix[name] = {"weight": float(weight or 1)}
        except ValueError:
            raise UsageError(f"--objective {word}: {weight!r} is no weight", hint="such as unilm=0.5") from None
    return [{name: settings} for name, settings in mix.items()]
