"""The grid of a comparison: `--grid KEY=VALUE,VALUE` into columns, each a configuration, all checked before any run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from nlpx.errors import UsageError

if TYPE_CHECKING:
    from nlpx.configuration.presets import Resolved
    from nlpx.configuration.section import Section

FIXED = {"task": "a comparison is of one task", "seed": "--seeds N says how many", "device": "it changes no score"}
Resolve = Callable[[Sequence[str], Mapping[str, Any]], "Resolved"]  # overrides and flags to a configuration


@dataclass(frozen=True, slots=True)
class Column:
    """One choice of the grid: its name, and the `--set` arguments that it adds."""

    name: str
    overrides: tuple[str, ...]

    @property
    def folder(self) -> str:
        """The name as part of a folder's; its overrides tell columns apart that it does not."""
        return re.sub(r"[^\w=.+-]+", "_", self.name).strip("_")


def read_grid(arguments: Sequence[str], schema: type[Section]) -> list[Column]:
    """The columns of all combinations, the first values first. Raises UsageError for a grid that is none.

    A value of plug-ins, such as tricks, is `none` or names joined by `+`; commas within brackets do not separate.
    """
    axes = [_axis(argument, schema) for argument in arguments]
    keys = [key for key, _ in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"--grid {key}: given twice", hint=f"--grid {key}=FIRST,SECOND takes all of its values")
    columns = [_column(keys, chosen) for chosen in product(*(values for _, values in axes))]
    if len(columns) < 2:
        raise UsageError("a grid of one column compares nothing", hint="for example: --grid tricks=none,ema")
    for one, other in combinations(columns, 2):
        if one.folder == other.folder:
            raise UsageError(f"--grid: the columns {one.name} and {other.name} are too alike to name folders by")
    return columns


def resolve_columns(columns: Sequence[Column], resolve: Resolve, *, seed: int) -> list[Resolved]:
    """The configuration of each column. Raises UsageError for one that cannot run, and for two that are the same."""
    found = [_resolved(column, resolve, seed) for column in columns]
    for (one, first), (other, second) in combinations(zip(columns, found, strict=True), 2):
        if first.config == second.config:
            raise UsageError(
                f"--grid: {one.name} and {other.name} are the same configuration", hint="leave one of them out"
            )
    return found


def _axis(argument: str, schema: type[Section]) -> tuple[str, list[tuple[str, str]]]:
    """A key, and its values as they are shown and as `--set` takes them."""
    key, equals, raw = argument.partition("=")
    key = key.strip()
    if not equals or not key or not raw.strip():
        raise UsageError(f"--grid {argument}: not of the form KEY=VALUE,VALUE", hint="--grid tricks=none,ema,r_drop")
    if key in FIXED:
        raise UsageError(f"--grid {argument}: `{key}` cannot vary", hint=FIXED[key])
    shown = [value.strip() for value in _split(raw)]
    if "" in shown or len(set(shown)) < len(shown):
        raise UsageError(f"--grid {argument}: a value is empty or given twice", hint="--grid tricks=none,ema,r_drop")
    as_list = _names_plugins(schema, key)
    return key, [(value, _plugin_list(value) if as_list else value) for value in shown]


def _split(raw: str) -> Iterator[str]:
    """The parts between commas that no bracket or quotation holds."""
    depth, quote, start = 0, "", 0
    for place, character in enumerate(raw):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth == 0:
            yield raw[start:place]
            start = place + 1
    yield raw[start:]


def _names_plugins(schema: type[Section], key: str) -> bool:
    from nlpx.configuration.section import Plugins, marker, section_of

    *above, last = key.split(".")
    inner: type[Section] | None = schema
    for part in above:
        field = None if inner is None else inner.model_fields.get(part)
        inner = None if field is None else section_of(field.annotation)
    return inner is not None and isinstance(marker(inner, last), Plugins)


def _plugin_list(value: str) -> str:
    if value[0] in "[{":
        return value
    return "[]" if value == "none" else f"[{', '.join(part.strip() for part in value.split('+'))}]"


def _column(keys: Sequence[str], chosen: Sequence[tuple[str, str]]) -> Column:
    pairs = list(zip(keys, chosen, strict=True))
    return Column(
        " ".join(f"{key}={shown}" for key, (shown, _) in pairs),
        tuple(f"{key}={value}" for key, (_, value) in pairs),
    )


def _resolved(column: Column, resolve: Resolve, seed: int) -> Resolved:
    from nlpx.configuration import registry
    from nlpx.losses import fitting
    from nlpx.tricks import check_needs, conflict

    try:
        resolved = resolve(column.overrides, {"seed": seed})
    except UsageError as error:  # without the grid it resolves: what is wrong is the column's
        message = error.message
        for override in column.overrides:
            message = message.replace(f"--set {override}", f"--grid {override}")
        raise UsageError(message, hint=error.hint) from None
    config = resolved.config
    problem = conflict(list(config.tricks))
    if problem is not None:
        raise UsageError(f"--grid {column.name}: {problem}")
    task = registry.load("tasks", config.task).Task(config.task_options)
    check_needs(config.tricks, task.outputs, of=f"the task {config.task}")
    if config.loss is not None and config.loss not in fitting(task.targets):
        raise UsageError(
            f"--grid {column.name}: the loss `{config.loss}` does not fit the task {config.task}",
            hint=f"losses that fit: {', '.join(fitting(task.targets)) or 'none'}",
        )
    return resolved
