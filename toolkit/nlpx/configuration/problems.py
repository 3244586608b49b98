"""Problems that pydantic found, in one sentence each, with the place and a hint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic

from nlpx.configuration import registry
from nlpx.configuration.section import Plugins, Section, field_type, item_type, marker, section_of
from nlpx.configuration.tree import Node, Place, walk

Path = tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration."""

    place: Place
    path: Path  # of the value to blame; empty for the whole
    text: str
    hints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n  ".join([f"{self.place}: {self.text}", *self.hints])


def problems(
    error: pydantic.ValidationError,
    *,
    tree: Node,
    data: Mapping[str, Any],
    schema: type[Section],
    show: str | None,
) -> list[Problem]:
    """Every problem of a failed validation, in the order of the files.

    `tree` gives the places, `data` the plain values that were validated, `show` the preset to name in
    "see: nlpx presets show ..." (None for no such line).
    """
    reader = _Reader(tree=tree, data=data, schema=schema, show=show)
    found = _without_shadows([reader.read(details) for details in error.errors()])
    return sorted(found, key=lambda problem: (problem.place.source, problem.place.line or 0))


def dotted_keys(schema: type[Section], *, prefix: Path = ()) -> Iterator[Path]:
    """The path of every field of a schema, sections before their fields; plug-in fields are not entered."""
    for key, info in schema.model_fields.items():
        yield (*prefix, key)
        inner = section_of(info.annotation)
        if inner is not None and marker(schema, key) is None:
            yield from dotted_keys(inner, prefix=(*prefix, key))


@dataclass(frozen=True)
class _Reader:
    tree: Node
    data: Mapping[str, Any]
    schema: type[Section]
    show: str | None

    def read(self, details: Any) -> Problem:
        steps = list(walk(self.tree, details["loc"], skip_missing=True))
        path = tuple(str(step) for step, _ in steps)
        place = steps[-1][1].place if steps else self.tree.place
        kind = details["type"]
        if kind == "missing":
            path = (*path, str(details["loc"][-1]))
            key = ".".join(path)
            hints = [] if any(part.isdigit() for part in path) else [f"set it with --set {key}=VALUE"]
            return Problem(place, path, f"`{key}` is required", hints)
        if kind == "extra_forbidden":
            return Problem(place, path, *self._unknown_key(path))
        if kind == "unknown_plugin":
            context = details["ctx"]
            return Problem(place, path, *_unknown_plugin(context["folder"], context["name"]))
        return Problem(place, path, *_wrong_value(path, details))

    def _unknown_key(self, path: Path) -> tuple[str, list[str]]:
        *parents, key = path
        owner, plugins = self._owner(parents)
        if plugins is not None:
            return _unknown_plugin(plugins.folder, key)
        known = list(owner.model_fields) if owner else []
        near = registry.did_you_mean(key, known) or self._elsewhere(key)
        hints = [near or f"known: {', '.join(known) or 'none'}"]
        if self.show is not None:
            section = f" --section {path[0]}" if parents else ""
            hints.append(f"see: nlpx presets show {self.show}{section}")
        return f"unknown key `{'.'.join(path)}`", hints

    def _owner(self, parents: Sequence[str]) -> tuple[type[Section] | None, Plugins | None]:
        """The section that the keys below `parents` belong to, and the mark of the field if it holds plug-ins."""
        kind: Any = self.schema
        data: Any = self.data
        plugins: Plugins | None = None
        # Types and values are descended together: the type below a plug-in field depends on the name in the values.
        for key in parents:
            owner = section_of(kind)
            mark = marker(owner, key) if owner else None
            plugins = mark if isinstance(mark, Plugins) else None
            kind = field_type(owner, key, data) if owner else item_type(kind)
            data = data.get(key, {}) if isinstance(data, Mapping) else {}
        return section_of(kind), plugins

    def _elsewhere(self, key: str) -> str | None:
        paths = [".".join(path) for path in dotted_keys(self.schema) if path[-1] == key]
        return f"did you mean {' or '.join(f'`{path}`' for path in paths)}?" if paths else None


def _unknown_plugin(folder: str, name: str) -> tuple[str, list[str]]:
    message, hint = registry.unknown(registry.singular(folder), name, registry.plugins(folder))
    return message, hint.splitlines()


def _wrong_value(path: Path, details: Any) -> tuple[str, list[str]]:
    key = ".".join(path)
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, Exception):  # raised by a validator of the configuration class: already a sentence
        return (f"`{key}`: {cause}" if key else str(cause)), []
    # pydantic explains after a comma how it failed to read a word; what it wanted is enough.
    message = details["msg"].removeprefix("Input ").partition(", unable to")[0]
    if not message.startswith("should"):
        return f"`{key}`: {message}", []
    if details["type"] == "model_type":
        message = "should be a mapping of keys to values"
    hints: list[str] = []
    if details["type"] == "literal_error":
        choices = [word.strip("' ") for word in details["ctx"]["expected"].replace(" or ", ",").split(",")]
        near = registry.did_you_mean(str(details["input"]), choices)
        hints = [near] if near else []
    return f"`{key}` {message}, not {_brief(details['input'])}", hints


def _brief(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None:
        return "empty"
    text = str(value) if not isinstance(value, str) else f"'{value}'"
    return text if len(text) <= 60 else text[:57] + "..."


def _without_shadows(found: list[Problem]) -> list[Problem]:
    # A union reports one error per member: the deepest is the most exact, and equal places are joined.
    kept: dict[Path, Problem] = {}
    for problem in found:
        deeper = (
            any(
                len(other.path) > len(problem.path) and other.path[: len(problem.path)] == problem.path
                for other in found
            )
            and problem.path
        )
        if not deeper and problem.path not in kept:
            kept[problem.path] = problem
        elif not deeper and problem.path:
            kept[problem.path] = _joined(kept[problem.path], problem)
    return list(kept.values())


def _joined(first: Problem, second: Problem) -> Problem:
    before, separator, after = first.text.rpartition(", not ")
    more = second.text.rpartition(", not ")[0].partition(" should be ")[2]
    if not separator or not more or more in before:
        return first
    return Problem(first.place, first.path, f"{before} or {more}, not {after}", [*first.hints, *second.hints])
