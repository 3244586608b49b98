"""What the shell completes behind `--set`: the keys of a command's configuration, and the values of some."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import BaseModel

# Which presets a command takes. What `presets show` was given the shell does not tell, so its keys are those of all.
_GROUPS = {
    "finetune": ("finetune",),
    "compare": ("finetune",),
    "pretrain": ("pretrain",),
    "chess-lm train": ("chess-lm",),
    "presets show": ("finetune", "pretrain", "chess-lm"),
}


def completions(command: str, incomplete: str, given: Mapping[str, Any]) -> list[str]:
    """Keys such as `optim.learning_rate=` that begin with what was typed, and behind a `=` the values of a choice.

    `command` is its words, `given` its options so far by the names of its parameters.
    """
    plugins = _plugins(given)
    fields = dict(field for schema in _schemas(command) for field in _fields(schema, "", plugins))
    key, equals, value = incomplete.partition("=")
    if equals:
        choices = _choices(fields.get(key))
        return [f"{key}={choice}" for choice in choices if choice.startswith(value)]
    return [f"{path}=" for path in fields if path.startswith(key)]


def _schemas(command: str) -> list[type[BaseModel]]:
    from nlpx.configuration.presets import schema_of
    from nlpx.models.config import ModelConfig

    if command == "convert":
        return [ModelConfig]
    if command == "summarize train":
        from nlpx.jobs.summarize.settings import Config

        return [Config]
    return [schema_of(group) for group in _GROUPS.get(command, ())]


def _plugins(given: Mapping[str, Any]) -> dict[str, str]:
    """The plug-ins that the command line names so far, by the key that names them."""
    chosen = {"task": given["task"]} if given.get("task") else {}
    for argument in given.get("set_") or ():
        key, _, value = str(argument).partition("=")
        chosen[key.strip()] = value.strip()
    return chosen


def _fields(schema: type[BaseModel], prefix: str, plugins: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Every key that can be set, in the order of the configuration, with what it may be."""
    from nlpx.configuration.section import PluginName, Plugins, PluginSettings, marker, plugin_config, section_of

    for key, field in schema.model_fields.items():
        mark, path = marker(schema, key), f"{prefix}{key}"
        inner = section_of(field.annotation)
        if isinstance(mark, Plugins):
            for name in _names(mark.folder, path):
                yield from _fields(plugin_config(mark.folder, name), f"{path}.{name}.", {})
        elif isinstance(mark, PluginSettings):
            name = plugins.get(f"{prefix}{mark.named_by}") or schema.model_fields[mark.named_by].default
            if name in _names(mark.folder, path):
                yield from _fields(plugin_config(mark.folder, name), f"{path}.", {})
        elif inner is not None:
            yield from _fields(inner, f"{path}.", plugins)
        else:
            yield path, _names(mark.folder, path) if isinstance(mark, PluginName) else field.annotation


def _names(folder: str, path: str) -> list[str]:
    """The plug-ins that may stand at a key: a folder of optimizers holds those and what wraps them."""
    from nlpx.configuration import registry

    if folder != "optim":
        return registry.plugins(folder)
    from nlpx.optim.config import optimizer_names, wrapper_names

    return wrapper_names() if path == "optim.wrappers" else optimizer_names()


def _choices(annotation: Any) -> Sequence[str]:
    if isinstance(annotation, list):
        return annotation
    if annotation is bool:
        return ("true", "false")
    if typing.get_origin(annotation) is Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    return [choice for part in typing.get_args(annotation) for choice in _choices(part)] + (
        ["null"] if annotation is type(None) else []
    )
