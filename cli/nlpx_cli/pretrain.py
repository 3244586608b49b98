"""`nlpx pretrain`: train a language model on plain texts, from nothing or from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from nlpx.configuration import registry
from nlpx_cli.console import Console
from nlpx_cli.options import (
    BatchSize,
    Device,
    DryRun,
    Epochs,
    InputFormat,
    Json,
    LearningRate,
    MaxLength,
    Out,
    Overwrite,
    Preset,
    Quiet,
    Resume,
    Seed,
    Set,
    Steps,
    Verbose,
    complete_models,
)
from nlpx_cli.training import Command, Options, overridden, train


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
    str | None,
    typer.Option(
        "--model",
        help="A checkpoint directory, a run, a hub name, or `new`.  [default: new]",
        metavar="MODEL",
        autocompletion=complete_models,
    ),
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
Encoding = Annotated[
    str | None, typer.Option("--encoding", help="Of the input, such as gb18030.  [default: utf-8]", metavar="NAME")
]


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
    input_format: InputFormat = None,
    encoding: Encoding = None,
    epochs: Epochs = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    max_length: MaxLength = None,
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
    The run is a model for every other command.

    \b
    Examples:
      nlpx pretrain --data corpus.txt
      nlpx pretrain --data corpus.jsonl --model path/to/checkpoint
      nlpx pretrain --data corpus.txt --objective mlm --objective unilm=0.5
      nlpx pretrain --resume last --set train.steps=40
    """
    from nlpx.configuration.presets import Flag
    from nlpx.jobs.pretrain import Config, plan, preset_for
    from nlpx.jobs.pretrain import pretrain as run

    console = Console(json=json, quiet=quiet, verbose=verbose)
    options = Options(
        preset=preset,
        set_=set_,
        epochs=epochs,
        steps=steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_length=max_length,
        seed=seed,
        device=device,
        out=out,
        resume=resume,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    flags = {
        "objectives": Flag(_mix(objective), "--objective", yields=True),
        "data.paths": Flag([*(data or []), *(more or [])] or None, "--data"),
        "data.field": field,
        "data.format": Flag(input_format, "--input-format"),
        "data.encoding": encoding,
        "model.name": Flag(model, "--model"),
        "model.tokenizer": tokenizer,
    }
    command = Command(
        schema=Config,
        default_preset=lambda: preset_for(model or overridden(options.overrides, "model.name")),
        plan=plan,
        run=run,
        score="best score",
        following=lambda folder: f"nlpx finetune --model {folder}",
    )
    train(command, options, flags, console)


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
