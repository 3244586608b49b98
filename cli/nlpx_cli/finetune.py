"""`nlpx finetune`: train a task on rows, starting from a checkpoint or from nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

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
    Task,
    Verbose,
    complete_models,
    complete_tricks,
)
from nlpx_cli.training import Command, Options, overridden, train

Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Rows: a folder, a file, a URL, or - for stdin. Repeatable.  [default: the shipped sample]",
        metavar="PATH",
    ),
]
Dev = Annotated[
    list[str] | None, typer.Option("--dev", help="Rows to evaluate on. Repeatable.  [default: those --data names]")
]
Test = Annotated[list[str] | None, typer.Option("--test", help="Rows to answer at the end. Repeatable.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A checkpoint directory, a run, a shipped model, a hub name, or new.  [default: a small one that ships]",
        metavar="MODEL",
        autocompletion=complete_models,
    ),
]
More = Annotated[
    list[str] | None,
    typer.Argument(help="More of --data, as a shell writes a pattern out.", metavar="FILE", hidden=True),
]
Field = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        help="Which holds the text. Twice for pairs, and for source and target.  [default: by name]",
        metavar="NAME",
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option("--encoding", help="Of the input, such as gb18030, or auto.  [default: utf-8]", metavar="NAME"),
]
OnBadRow = Annotated[Literal["fail", "skip"] | None, typer.Option("--on-bad-row", help="Stop, or leave the row out.")]
Require = Annotated[
    float | None, typer.Option("--require", help="Exit with 5 if the best dev score is lower.", metavar="SCORE")
]

Tricks = Annotated[
    str | None,
    typer.Option(
        "--tricks",
        help="Names with commas, such as rdrop,ema, in place of the preset's; none for none.",
        metavar="NAMES",
        autocompletion=complete_tricks,
    ),
]
MultiLabel = Annotated[
    bool, typer.Option("--multi-label", help="Of classify: rows have several labels, or none, in a list.")
]
Separator = Annotated[
    str | None,
    typer.Option("--label-separator", help="Between several labels in a text.", metavar="CHARACTERS", hidden=True),
]
Teacher = Annotated[
    str | None, typer.Option("--teacher", help="Of similarity: vectors, a row a text.", metavar="VECTORS.npy")
]
Baseline = Annotated[
    bool | None,
    typer.Option("--baseline/--no-baseline", help="Compare with TF-IDF on the same rows.  [default: the sample only]"),
]


def register(app: typer.Typer) -> None:
    """Add `nlpx finetune`."""
    app.command("finetune")(finetune)


def finetune(
    more: More = None,
    task: Task = None,
    data: Data = None,
    dev: Dev = None,
    test: Test = None,
    model: Model = None,
    epochs: Epochs = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    max_length: MaxLength = None,
    preset: Preset = None,
    set_: Set = None,
    field: Field = None,
    input_format: InputFormat = None,
    encoding: Encoding = None,
    on_bad_row: OnBadRow = None,
    seed: Seed = None,
    device: Device = None,
    out: Out = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    require: Require = None,
    tricks: Tricks = None,
    multi_label: MultiLabel = False,
    label_separator: Separator = None,
    teacher: Teacher = None,
    baseline: Baseline = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fine-tune a task on rows and print the run folder.

    The folder holds the configuration, metrics, checkpoints, report and plots.
    `sohu` reads the contest's folders or rows with `source`, `target`,
    `variant` (ssA ssB slA slB llA llB) and `labelA` or `labelB`; `classify`
    rows with `text` (or `text1` and `text2`) and any `label`; `seq2seq` rows
    with `source` and `target`, a text that is to be written from it; `qa`
    rows with `question` and `passages` or a `context`, and their answers.

    \b
    Examples:
      nlpx finetune --task sohu
      nlpx finetune --task sohu --data rows.jsonl --model path/to/checkpoint
      nlpx finetune --task classify --data titles.jsonl --tricks rdrop,ema
      nlpx finetune --task seq2seq --data rows.jsonl --max-length 256
      nlpx finetune --resume last --set train.epochs=5
      run=$(nlpx finetune --task sohu --quiet) && nlpx predict "$run" rows.jsonl
    """
    from nlpx.configuration.presets import Flag
    from nlpx.jobs.finetune import Config, plan
    from nlpx.jobs.finetune import finetune as run

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
        require=require,
    )
    flags = {
        "task": task,
        "data.path": Flag(one_or_several([*(data or []), *(more or [])]), "--data"),
        "data.dev": Flag(dev or None, "--dev"),
        "data.test": Flag(test or None, "--test"),
        "data.format": Flag(input_format, "--input-format"),
        "data.encoding": encoding,
        "data.on_bad_row": on_bad_row,
        "model.name": Flag(model, "--model"),
        "task_options.multi_label": Flag(multi_label or None, "--multi-label"),
        "task_options.label_separator": Flag(label_separator, "--label-separator"),
        "task_options.teacher": Flag(teacher, "--teacher"),
        "baseline": baseline,
        "tricks": Flag(tricks, "--tricks", yields=True),
        **_fields(field, task),
    }
    command = Command(
        schema=Config,
        default_preset=lambda: default_preset(task, model or overridden(options.overrides, "model.name")),
        plan=plan,
        run=run,
        score="best dev score",
        following=lambda folder: f"nlpx predict {folder} rows.jsonl",
    )
    train(command, options, flags, console)


def one_or_several(paths: list[str]) -> str | list[str] | None:
    """The value of `data.path` for what --data was given."""
    return paths[0] if len(paths) == 1 else paths or None


def _fields(names: list[str] | None, task: str | None) -> dict[str, Any]:
    """The options of the task that --field sets: those it lists, or a text and the second of a pair."""
    from nlpx.configuration import registry
    from nlpx.configuration.presets import Flag
    from nlpx.errors import UsageError

    if names is None:
        return {}
    if len(names) > 2:
        raise UsageError(f"--field is given {len(names)} times", hint="once for a text, twice for a pair")
    module = registry.load("tasks", task) if task in registry.plugins("tasks") else None
    options = getattr(module and module.Task, "field_options", ("text_field", "second_field"))
    return {f"task_options.{key}": Flag(name, "--field") for key, name in zip(options, names, strict=False)}


def default_preset(task: str | None, model: str | None) -> str:
    """The preset of a task and a model. Raises UsageError for an unknown task."""
    from nlpx.configuration import registry
    from nlpx.errors import UsageError
    from nlpx.jobs.finetune import preset_for

    chosen, tasks = task or "sohu", registry.plugins("tasks")
    if chosen not in tasks:
        message, hint = registry.unknown("task", chosen, tasks)
        raise UsageError(message, hint=hint)
    return preset_for(chosen, model)
