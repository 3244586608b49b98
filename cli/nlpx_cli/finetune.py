"""`nlpx finetune`: train a task on rows, starting from a checkpoint or from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Device, DryRun, Json, Out, Overwrite, Preset, Quiet, Resume, Seed, Set, Task, Verbose

if TYPE_CHECKING:
    from nlpx.jobs.finetune import Finished
    from nlpx.presets import Resolved

Data = Annotated[
    str | None, typer.Option("--data", help="A folder, a JSONL file, or - for stdin.  [default: the shipped sample]")
]
Model = Annotated[
    str | None, typer.Option("--model", help="A checkpoint directory, a hub name, or `new`.  [default: new]")
]
Require = Annotated[
    float | None, typer.Option("--require", help="Exit with 5 if the best dev score is lower.", metavar="SCORE")
]

# What a resumed run may change; everything else would make it another run.
CHANGEABLE = (
    "train.steps",
    "train.epochs",
    "train.eval_every",
    "train.log_every",
    "train.save_every",
    "train.patience",
)


def register(app: typer.Typer) -> None:
    """Add `nlpx finetune`."""
    app.command("finetune")(finetune)


def finetune(
    task: Task = None,
    data: Data = None,
    model: Model = None,
    preset: Preset = None,
    set_: Set = None,
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
    `variant` (ssA ssB slA slB llA llB) and `labelA` or `labelB`.

    \b
    Examples:
      nlpx finetune --task sohu
      nlpx finetune --task sohu --data rows.jsonl --model path/to/checkpoint
      nlpx finetune --resume last --set train.epochs=5
      run=$(nlpx finetune --task sohu --quiet) && nlpx predict "$run" rows.jsonl
    """
    from nlpx.jobs.finetune import RunOptions, finetune, plan

    console = Console(json=json, quiet=quiet, verbose=verbose)
    options = RunOptions(out=out, overwrite=overwrite, resume=resume, require=require)
    resolved = _resolve(task, data, model, preset, set_ or [], seed, device, resume, console)
    if dry_run:
        facts = plan(resolved, options, console).facts
        console.result(facts, value="\n".join(f"{name}: {value}" for name, value in facts.items()))
        return
    finished = finetune(resolved, options, console)
    if finished is not None:
        _show(finished, console)


def _resolve(
    task: str | None,
    data: str | None,
    model: str | None,
    preset: str | None,
    overrides: list[str],
    seed: int | None,
    device: str | None,
    resume: str | None,
    console: Console,
) -> Resolved:
    from nlpx.jobs.finetune import Config, preset_for
    from nlpx.presets import Flag, resolve

    flags: dict[str, Any] = {
        "task": task,
        "data.path": Flag(data, "--data"),
        "model.name": Flag(model, "--model"),
        "seed": seed,
        "device": device,
    }
    if resume is not None:
        return _resolve_resumed(resume, overrides, flags)
    if preset is None:
        preset = preset_for(task or "sohu", model)
        console.note(f"preset {preset}")
    elif (Path(preset) / "config.yaml").is_file():
        preset = str(Path(preset) / "config.yaml")
    return resolve(Config, preset=preset, overrides=overrides, flags=flags)


def _resolve_resumed(resume: str, overrides: list[str], flags: dict[str, Any]) -> Resolved:
    from nlpx.errors import UsageError
    from nlpx.jobs.finetune import Config
    from nlpx.presets import differences, resolve
    from nlpx.run import RunFolder

    before = str(RunFolder.open(resume).config)
    resolved = resolve(Config, preset=before, overrides=overrides, flags=flags)
    earlier = resolve(Config, preset=before).to_dict()
    for key, old, new in differences(earlier, resolved.to_dict()):
        if key not in (*CHANGEABLE, "device"):
            raise UsageError(
                f"`{key}` is {old} in the run to resume and {new} here",
                hint=f"a resumed run may change only: {', '.join(CHANGEABLE)}, device",
            )
    return resolved


def _show(finished: Finished, console: Console) -> None:
    cells = [[row.get(name) for name in finished.columns] for row in finished.table]
    console.table(finished.columns, cells)
    console.note(f"best dev score {finished.score:.4f}; report: {finished.run}/report.md")
    console.hint(f"nlpx predict {finished.run} rows.jsonl")
    console.result({"run": finished.run, "score": finished.score, "table": finished.table}, value=finished.run)
