"""`nlpx compare`: a grid of settings over several seeds, and which differences are more than noise.

Each run has its folder, and the folder of a comparison is a root of runs: `nlpx runs list --root FOLDER` shows them.
The same command again goes on where it stopped; more columns or seeds add to what is there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import Interrupted, ResultError, UsageError
from nlpx.jobs.compare.grid import Resolve, read_grid, resolve_columns

if TYPE_CHECKING:
    from nlpx.jobs.compare.cells import Cell
    from nlpx.messages import Messages

__all__ = ["Compared", "Comparison", "compare", "planned"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What to compare: `resolve` gives the configuration of `--set` arguments and flags beyond those of the command."""

    grid: Sequence[str]
    resolve: Resolve
    num_seeds: int
    num_jobs: int = 1
    out: Path | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison that came to its end: `found` is what `comparison.json` holds."""

    folder: Path
    report: Path
    found: Mapping[str, Any]
    failed: Mapping[str, str] = field(default_factory=dict)  # run folder -> why it has no result


def planned(comparison: Comparison) -> list[Cell]:
    """Every run, seed by seed and within one column by column, so that what is done so far is paired.

    Raises UsageError for a grid that cannot run, before anything is written.
    """
    from nlpx.jobs.compare.cells import Cell
    from nlpx.jobs.finetune.job import data_paths

    base = comparison.resolve((), {})
    columns = read_grid(comparison.grid, type(base.config))
    paths = data_paths(base.config)
    if "-" in paths:
        raise UsageError("stdin can be read once, and every run reads the rows", hint="--data FILE")
    folder = comparison.out or Path("runs") / f"compare-{base.config.task}-{_digest(comparison.resolve)}"
    cells = []
    for seed in range(base.config.seed, base.config.seed + comparison.num_seeds):
        for column, resolved in zip(columns, resolve_columns(columns, comparison.resolve, seed=seed), strict=True):
            cells.append(Cell(column.name, seed, resolved, folder / f"{column.folder}-{seed}"))
    return cells


def compare(comparison: Comparison, messages: Messages) -> Compared:
    """Run what is not done, and write `comparison.json` and `report.html`.

    Raises `UserError`s with the place and the way out, and `Interrupted` once the runs in progress are saved.
    """
    from nlpx.io import write_json, write_text
    from nlpx.jobs.compare.summary import summary
    from nlpx.report.comparison import page

    cells = planned(comparison)
    folder = cells[0].folder.parent
    failed = _run(cells, comparison.num_jobs, messages)
    found = summary(cells, failed)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "comparison.json", found)
    report = folder / "report.html"
    write_text(report, page(found))
    return Compared(folder, report, found, failed)


def _run(cells: Sequence[Cell], num_jobs: int, messages: Messages) -> dict[str, str]:
    """Run the cells that are not done; the reasons of those that ended without a result, by folder."""
    from nlpx.jobs.compare.cells import measured
    from nlpx.jobs.compare.processes import run_cells

    left = _left(cells)
    done = len(cells) - len(left)
    if done:
        messages.note(f"{done} of {len(cells)} runs are done already")
    if num_jobs > 1:
        messages.note(f"{num_jobs} runs at a time share the machine: their times vary more than those of one at a time")
    failed: dict[str, str] = {}
    started = time.perf_counter()
    try:
        with messages.progress(len(cells), "runs", initial=done) as progress:
            for cell, error in run_cells(left, num_jobs):
                progress.update(advance=1)
                if error is not None:
                    failed[str(cell.folder)] = error.message
                    messages.warn(error.message)
                    continue
                score = measured(cell, "dev").score
                shown = "no score" if score is None else f"dev score {score:.4f}"
                messages.note(f"{cell.column}, seed {cell.seed}: {shown}")
    except KeyboardInterrupt as error:
        raise Interrupted(f"the runs are in {cells[0].folder.parent}; the same command goes on") from error
    if left:
        messages.detail(f"{len(left)} runs took {time.perf_counter() - started:.1f} s")
    if len(failed) == len(cells):
        raise ResultError(f"no run has a result; the first: {next(iter(failed.values()))}")
    return failed


def _left(cells: Sequence[Cell]) -> list[Cell]:
    from nlpx.runs.facts import input_facts

    inputs: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    left = []
    for cell in cells:
        files = _files(cell)
        if files not in inputs:
            inputs[files] = input_facts(files)
        if not cell.is_done(inputs[files]):
            left.append(cell)
    return left


def _files(cell: Cell) -> tuple[str, ...]:
    from nlpx.jobs.finetune.job import data_paths

    data = cell.resolved.config.data
    return (*data_paths(cell.resolved.config), *data.dev, *data.test)


def _digest(resolve: Resolve) -> str:
    """Of everything but the seed: the same comparison is found again, and more seeds add to it."""
    text = resolve((), {"seed": 0}).to_yaml()
    return hashlib.sha256(text.encode()).hexdigest()[:8]
