"""`nlpx runs report`: the report of a run made anew from its folder, with the tables that its task has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nlpx.configuration import registry
from nlpx.runs.folder import RunFolder


def rebuild(run: RunFolder) -> Path:
    """Write `report.md` and the plots of a run; return the report."""
    from nlpx.report.build import build

    task = _task_of(run)
    return build(run) if task is None else build(run, task.tables)


def _task_of(run: RunFolder) -> Any:
    """The task of a fine-tuning run, as its configuration names it; None for other runs."""
    import yaml

    chosen = yaml.safe_load(run.config.read_text(encoding="utf-8")) or {}
    name = chosen.get("task")
    if run.manifest.get("command") != "finetune" or name not in registry.plugins("tasks"):
        return None
    module = registry.load("tasks", name)
    return module.Task(module.Config.model_validate(chosen.get("task_options") or {}))
