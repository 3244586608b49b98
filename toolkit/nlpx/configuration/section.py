"""The base of configuration classes, and the fields whose content a plug-in defines.

A field whose keys depend on a file of a folder says so in its annotation, so nothing here or in `presets` knows
which jobs or keys exist:

    class Config(Section):
        task: Annotated[str, PluginName("tasks")]
        task_options: Annotated[Any, PluginSettings("tasks", named_by="task")] = {}
        tricks: Annotated[dict[str, Any], Plugins("tricks")] = {}

Each module of such a folder defines `class Config(Section)`, and imports torch inside its functions only.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union

import pydantic
import pydantic_core
from pydantic_core import core_schema

from nlpx.configuration import registry
from nlpx.seed import LARGEST_SEED


class Section(pydantic.BaseModel):
    """Base of every configuration class: immutable, and unknown keys are errors.

    `ALTERNATIVES` lists pairs of keys of which only one may be set: where a stronger layer sets one, what weaker
    layers say of the other no longer counts.
    """

    ALTERNATIVES: ClassVar[tuple[tuple[str, str], ...]] = ()

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


Seed = Annotated[int, pydantic.Field(ge=0, le=LARGEST_SEED)]


@dataclass(frozen=True)
class PluginName:
    """Marks a text field that names a module of `nlpx.<folder>`."""

    folder: str

    def __get_pydantic_core_schema__(self, source: Any, handler: pydantic.GetCoreSchemaHandler) -> Any:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str | None) -> str | None:
        if name is None or name in registry.plugins(self.folder):
            return name
        context = {"folder": self.folder, "name": name}
        raise pydantic_core.PydanticCustomError("unknown_plugin", "unknown plug-in", context)


@dataclass(frozen=True)
class PluginSettings:
    """Marks a field that holds the settings of the plug-in named by another field, declared before it."""

    folder: str
    named_by: str

    def __get_pydantic_core_schema__(self, source: Any, handler: pydantic.GetCoreSchemaHandler) -> Any:
        return core_schema.with_info_plain_validator_function(self._build)

    def _build(self, value: Any, info: pydantic.ValidationInfo) -> Any:
        name = info.data.get(self.named_by)
        if name is None or isinstance(value, Section):  # an unknown name has been reported at its own field
            return value
        return plugin_config(self.folder, name).model_validate(value)


@dataclass(frozen=True)
class Plugins:
    """Marks an ordered mapping from plug-in name to settings; a list of names or one-key maps will do too."""

    folder: str

    def __get_pydantic_core_schema__(self, source: Any, handler: pydantic.GetCoreSchemaHandler) -> Any:
        return core_schema.no_info_plain_validator_function(self._build)

    def _build(self, value: Any) -> dict[str, Any]:
        settings = _named(value)
        checked = self.section(settings).model_validate(settings)
        return {name: getattr(checked, name) for name in settings}

    def section(self, names: Mapping[str, Any]) -> type[Section]:
        """A section with a required field per known plug-in among `names`, typed by that plug-in's `Config`."""
        known = registry.plugins(self.folder)
        fields: Any = {name: (plugin_config(self.folder, name), ...) for name in names if name in known}
        return pydantic.create_model(self.folder.replace("/", "_"), __base__=Section, **fields)


def plugin_config(folder: str, name: str) -> type[Section]:
    """The `Config` class of `nlpx.<folder>.<name>`; an unknown name is a `UsageError`."""
    config: type[Section] = registry.load(folder, name).Config
    return config


def marker(schema: type[pydantic.BaseModel], key: str) -> PluginName | PluginSettings | Plugins | None:
    """The plug-in mark of a field, if it has one."""
    marks = (PluginName, PluginSettings, Plugins)
    metadata = schema.model_fields[key].metadata if key in schema.model_fields else []
    return next((item for item in metadata if isinstance(item, marks)), None)


def field_type(schema: type[Section], key: str, siblings: Mapping[str, Any]) -> Any:
    """The type of field `key`, with plug-in fields made concrete; Any for an unknown key.

    `siblings` are the plain values given for the same section: they name the plug-ins. For `Plugins` fields the
    value itself does, as an already normalised mapping.
    """
    if key not in schema.model_fields:
        return Any
    mark = marker(schema, key)
    if isinstance(mark, Plugins):
        value = siblings.get(key)
        return mark.section(value if isinstance(value, Mapping) else {})
    if isinstance(mark, PluginSettings):
        name = siblings.get(mark.named_by, schema.model_fields[mark.named_by].get_default())
        return plugin_config(mark.folder, name) if name in registry.plugins(mark.folder) else Any
    return schema.model_fields[key].annotation


def section_of(annotation: Any) -> type[Section] | None:
    """The section inside a type such as `Model | None` or `str | Model`; None if there is none."""
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, Section):
            return member
    return None


def item_type(annotation: Any) -> Any:
    """The type of the values of a mapping or list type; Any where it is not stated."""
    for member in _members(annotation):
        arguments = [argument for argument in typing.get_args(member) if argument is not Ellipsis]
        if typing.get_origin(member) is not Literal and arguments:
            return arguments[-1]
    return Any


def takes_only_text(annotation: Any) -> bool:
    """Whether a plain word such as `off` or `1e3` can only be meant as text for a field of this type."""
    members = [member for member in _members(annotation) if member is not type(None)]
    return bool(members) and all(_is_text(member) for member in members)


def takes_none(annotation: Any) -> bool:
    """Whether None is a value of this type."""
    return any(member is Any or member is type(None) for member in _members(annotation))


def _is_text(member: Any) -> bool:
    if typing.get_origin(member) is Literal:
        return all(isinstance(value, str) for value in typing.get_args(member))
    return isinstance(member, type) and issubclass(member, str | Path)


def _members(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return [member for part in typing.get_args(annotation) for member in _members(part)]
    return [annotation]


def _named(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return {
        name: settings for item in value for name, settings in (item if isinstance(item, dict) else {item: {}}).items()
    }
