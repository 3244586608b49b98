"""`nlpx finetune`: train a task on rows, starting from a checkpoint or from nothing."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import (
    Device,
    DryRun,
    Json,
    Out,
    Overwrite,
    Preset,
    Quiet,
    Resume,
    Seed,
    Set,
    Task,
    Verbose,
)
from nlpx_cli.training import (
    overridden,
    refuse_beside_resume,
    resolve_new,
    resolve_resumed,
    show_finished,
    show_plan,
)

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
    typer.Option("--model", help="A checkpoint directory, a shipped model, a hub name, or new.  [default: char-tiny]"),
]
Encoding = Annotated[str | None, typer.Option("--encoding", help="Of the rows, such as gb18030, or auto.")]
OnBadRow = Annotated[Literal["fail", "skip"] | None, typer.Option("--on-bad-row", help="Stop, or leave the row out.")]
Require = Annotated[
    float | None, typer.Option("--require", help="Exit with 5 if the best dev score is lower.", metavar="SCORE")
]


def register(app: typer.Typer) -> None:
    """Add `nlpx finetune`."""
    app.command("finetune")(finetune)


def finetune(
    task: Task = None,
    data: Data = None,
    dev: Dev = None,
    test: Test = None,
    model: Model = None,
    preset: Preset = None,
    set_: Set = None,
    encoding: Encoding = None,
    on_bad_row: OnBadRow = None,
    seed: Seed = None,
    device: Device = None,
    out: Out = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    require: Require = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fine-tune a task on rows and print the run folder.

    The folder holds the configuration, metrics, checkpoints, report and plots.
    `sohu` reads the contest's folders or rows with `source`, `target`,
    `variant` (ssA ssB slA slB llA llB) and `labelA` or `labelB`; `classify`
    rows with `text` (or `text1` and `text2`) and any `label`.

    \b
    Examples:
      nlpx finetune --task sohu
      nlpx finetune --task sohu --data rows.jsonl --model path/to/checkpoint
      nlpx finetune --task classify --data titles.jsonl
      nlpx finetune --task classify --data train.csv --dev dev.csv
      nlpx finetune --resume last --set train.epochs=5
      run=$(nlpx finetune --task sohu --quiet) && nlpx predict "$run" rows.jsonl
    """
    from nlpx.configuration.presets import Flag
    from nlpx.jobs.finetune import Config, RunOptions, finetune, plan

    console = Console(json=json, quiet=quiet, verbose=verbose)
    options = RunOptions(out=out, overwrite=overwrite, resume=resume, require=require)
    flags = {
        "task": task,
        "data.path": Flag(_one_or_several(data), "--data"),
        "data.dev": Flag(dev or None, "--dev"),
        "data.test": Flag(test or None, "--test"),
        "data.encoding": encoding,
        "data.on_bad_row": on_bad_row,
        "model.name": Flag(model, "--model"),
        "seed": seed,
        "device": device,
    }
    if resume is None:
        named = model or overridden(set_ or [], "model.name")
        resolved = resolve_new(Config, preset or _default_preset(task, named, console), set_ or [], flags)
    else:
        refuse_beside_resume(preset=preset, out=out, overwrite=overwrite)
        resolved = resolve_resumed(Config, resume, set_ or [], flags)
    if dry_run:
        show_plan(plan(resolved, options, console), console)
        return
    finished = finetune(resolved, options, console)
    if finished is not None:
        show_finished(finished, console, score="best dev score", following=f"nlpx predict {finished.run} rows.jsonl")


def _one_or_several(paths: list[str] | None) -> str | list[str] | None:
    return paths[0] if paths is not None and len(paths) == 1 else paths or None


def _default_preset(task: str | None, model: str | None, console: Console) -> str:
    from nlpx.configuration import registry
    from nlpx.errors import UsageError
    from nlpx.jobs.finetune import preset_for

    chosen, tasks = task or "sohu", registry.plugins("tasks")
    if chosen not in tasks:
        message, hint = registry.unknown("task", chosen, tasks)
        raise UsageError(message, hint=hint)
    preset = preset_for(chosen, model)
    console.note(f"preset {preset}")
    return preset
