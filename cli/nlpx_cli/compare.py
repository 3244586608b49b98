"""`nlpx compare`: a grid of settings over several seeds, and which differences are more than noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlpx_cli.console import Console
from nlpx_cli.finetune import Data, Dev, Model, Test, default_preset, one_or_several
from nlpx_cli.options import (
    BatchSize,
    Device,
    DryRun,
    Epochs,
    Json,
    LearningRate,
    MaxLength,
    Preset,
    Quiet,
    Seed,
    Set,
    Steps,
    Task,
    Verbose,
    writable,
)
from nlpx_cli.training import Options, overridden, resolve_new

if TYPE_CHECKING:
    from nlpx.jobs.compare import Compared, Comparison

Grid = Annotated[
    list[str],
    typer.Option(
        "--grid",
        help="A setting and its values, the first to compare with. Repeatable: all combinations.",
        metavar="KEY=VALUE,VALUE",
    ),
]
Seeds = Annotated[int, typer.Option("--seeds", help="Runs of each column, from --seed on.", min=2, metavar="N")]
Jobs = Annotated[int, typer.Option("--jobs", help="Runs at a time.", min=1, metavar="N")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        callback=writable,
        help="The folder of the comparison.  [default: one in runs/, by its settings]",
        metavar="DIR",
    ),
]


def register(app: typer.Typer) -> None:
    """Add `nlpx compare`."""
    app.command("compare")(compare)


def compare(
    grid: Grid,
    task: Task = None,
    data: Data = None,
    dev: Dev = None,
    test: Test = None,
    model: Model = None,
    seeds: Seeds = 5,
    jobs: Jobs = 1,
    epochs: Epochs = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    max_length: MaxLength = None,
    preset: Preset = None,
    set_: Set = None,
    seed: Seed = None,
    device: Device = None,
    out: Folder = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train each setting of a grid and tell which ones help.

    Every column of the grid is trained once a seed, in a run folder of its
    own. Differences to the first column are taken seed by seed, with Student's
    interval; what is within noise is called so. The same command again skips
    what is done and goes on with what was interrupted.

    \b
    Examples:
      nlpx compare --data rows.jsonl --grid tricks=none,ema --seeds 2
      nlpx compare --data rows.jsonl --grid tricks=none,ema,r_drop --dry-run
    """
    from nlpx.configuration.presets import Flag, Resolved
    from nlpx.jobs.compare import Comparison
    from nlpx.jobs.compare import compare as run
    from nlpx.jobs.finetune import Config

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
        resume=None,
        overwrite=False,
        dry_run=dry_run,
    )
    flags = options.flags() | {
        "task": task,
        "data.path": Flag(one_or_several(data or []), "--data"),
        "data.dev": Flag(dev or None, "--dev"),
        "data.test": Flag(test or None, "--test"),
        "model.name": Flag(model, "--model"),
    }
    chosen = preset or default_preset(task, model or overridden(options.overrides, "model.name"))
    if preset is None:
        console.note(f"preset {chosen}")

    def resolve(overrides: Any, more: Any) -> Resolved:
        return resolve_new(Config, chosen, [*options.overrides, *overrides], flags | dict(more))

    comparison = Comparison(grid=grid, resolve=resolve, num_seeds=seeds, num_jobs=jobs, out=out)
    if dry_run:
        _show_plan(comparison, console)
    else:
        _show(run(comparison, console), console)


def _show_plan(comparison: Comparison, console: Console) -> None:
    from nlpx.jobs.compare import planned

    cells = planned(comparison)
    columns = list(dict.fromkeys(cell.column for cell in cells))
    facts = {"folder": str(cells[0].folder.parent), "runs": len(cells), "columns": columns}
    console.result(facts, value="\n".join([*(str(cell.folder) for cell in cells)]))


def _show(compared: Compared, console: Console) -> None:
    from nlpx.report.comparison import table
    from nlpx.report.tables import render

    found = table(compared.found)
    console.note(render(found.rows, found.columns))
    for column in compared.found["columns"][1:]:
        console.note(column["sentence"])
    console.note(compared.found["remark"])
    console.note(f"report: {compared.report}")
    facts = {"folder": str(compared.folder), "report": str(compared.report), **compared.found}
    console.result(facts, value=compared.folder)
