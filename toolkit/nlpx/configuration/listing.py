"""What can be chosen, one row each, from the plug-ins themselves; nothing here needs torch."""

from __future__ import annotations

from types import ModuleType

from nlpx.configuration import registry

FOLDERS = {"tricks": "tricks", "losses": "losses", "optimizers": "optim", "tasks": "tasks"}

Row = dict[str, str]


def listing(kind: str) -> list[Row]:
    """Rows of one of `FOLDERS`: `name`, what it is, where it comes from, what it costs, what it cannot join."""
    folder = FOLDERS[kind]
    return [_ROWS[kind](name, registry.load(folder, name)) for name in registry.plugins(folder)]


def _trick(name: str, module: ModuleType) -> Row:
    apart = sorted(module.CONFLICTS)
    if getattr(module, "SECOND_ORDER", False):
        apart += ["train.compile", "train.activation_checkpointing"]
    row = {"name": name, "what": _what("tricks", name), "source": module.SOURCE, "costs": module.COST}
    return row | {"needs": ", ".join(sorted(module.NEEDS)), "not_with": ", ".join(apart)}


def _loss(name: str, module: ModuleType) -> Row:
    return {"name": name, "what": _what("losses", name), "source": module.SOURCE, "targets": module.TARGETS}


def _optimizer(name: str, module: ModuleType) -> Row:
    kind = "optimizer" if hasattr(module, "build") else "wrapper"
    row = {"name": name, "what": _what("optim", name), "source": module.SOURCE, "costs": module.COST}
    return row | {"key": "optim.name" if kind == "optimizer" else "optim.wrappers"}


def _task(name: str, module: ModuleType) -> Row:
    task = module.Task
    return {"name": name, "what": _what("tasks", name), "score": task.primary_metric, "targets": task.targets or ""}


def _what(folder: str, name: str) -> str:
    """The first line of a plug-in, without its name before a colon and its sources in brackets."""
    text = registry.summary(folder, name)
    if text.endswith((").", ")")):
        text = text.rpartition(" (")[0]
    return text.removesuffix(".").removesuffix(":")


_ROWS = {"tricks": _trick, "losses": _loss, "optimizers": _optimizer, "tasks": _task}
