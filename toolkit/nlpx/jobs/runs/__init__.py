"""`nlpx runs report`: the report of a run made anew from its folder, with the tables that its task has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.configuration import registry
from nlpx.errors import InputError
from nlpx.runs.folder import RunFolder

if TYPE_CHECKING:
    from nlpx.report.tables import Table


def rebuild(run: RunFolder) -> Path:
    """Write `report.md` and the plots of a run; return the report."""
    from nlpx.report.build import build

    task = _task_of(run)
    return build(run) if task is None else build(run, partial(_tables, run, task))


def _tables(run: RunFolder, task: Any, record: Mapping[str, Any]) -> list[Table]:
    try:
        tables: list[Table] = task.tables(record)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(
            f"{run.metrics_file}: the evaluation of step {record.get('step')} is not one that this task writes",
            hint="remove its line",
        ) from error
    return tables


def _task_of(run: RunFolder) -> Any:
    """The task of a fine-tuning run, as its configuration names it; None for other runs."""
    if run.manifest.get("command") != "finetune":
        return None
    from pydantic import ValidationError

    from nlpx.configuration.files import read
    from nlpx.configuration.tree import parse, plain

    chosen = plain(parse(read(run.config), source=str(run.config)))
    name = chosen.get("task")
    if name not in registry.plugins("tasks"):
        raise InputError(f"{run.config}: no known task, but {name!r}", hint="it is not as the run wrote it")
    module = registry.load("tasks", name)
    try:
        return module.Task(module.Config.model_validate(chosen.get("task_options") or {}))
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        raise InputError(f"{run.config}: task_options: {message}", hint="it is not as the run wrote it") from None
