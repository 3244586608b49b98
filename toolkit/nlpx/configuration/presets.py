"""Configuration: YAML presets, `--set a.b=c` and dedicated options, merged and checked without torch.

Precedence, weakest first: the defaults of the configuration class, the parent named by `extends`, the preset,
`--set`, dedicated options. Mappings merge key by key, everything else is replaced; a list of plug-ins replaces
the parent's, a mapping adds to it. `key: null` clears the value of weaker layers. All errors are found and reported
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pydantic

from nlpx.configuration import registry
from nlpx.configuration.files import (
    find,
    group_of,
    groups,
    job_of,
    label,
    lineage,
    preset_names,
    presets_folder,
    read,
    summary,
)
from nlpx.configuration.section import (
    PluginName,
    Plugins,
    PluginSettings,
    Section,
    field_type,
    item_type,
    marker,
    section_of,
    takes_none,
    takes_only_text,
)
from nlpx.errors import UsageError

if TYPE_CHECKING:
    from nlpx.configuration.problems import Problem
    from nlpx.configuration.tree import Node

__all__ = [
    "Flag",
    "PluginName",
    "PluginSettings",
    "Plugins",
    "Resolved",
    "Section",
    "differences",
    "examine",
    "find",
    "flatten",
    "group_of",
    "preset_names",
    "presets_folder",
    "resolve",
    "schema_of",
    "summary",
]


class Flag(NamedTuple):
    """A value of a dedicated option whose name is not that of the key, such as `Flag(path, "--data")`."""

    value: Any
    option: str
    yields: bool = False  # to `--set`, which may change parts of it


@dataclass(frozen=True)
class Resolved:
    """A merged and checked configuration, and where each value came from."""

    config: Any  # an instance of the schema given to `resolve`
    origins: dict[str, str]  # dotted key -> "default", "presets/finetune/sohu.yaml:14", "--set", "--seed", ...
    chain: list[str]  # the files, from the furthest parent to the preset

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain data, every default explicit."""
        return _plain(self.config)

    def to_yaml(self) -> str:
        """The configuration as YAML, every default explicit; as a preset it gives an equal configuration."""
        from nlpx.configuration.tree import dump

        return dump(self.to_dict())


def resolve(
    schema: type[Section],
    *,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Resolved:
    """Merge a preset (name or file), `--set` arguments and options (dotted key -> value, None = not given).

    Raises `UsageError` listing every problem with file, line, column and near names.
    """
    resolved, found = examine(schema, preset=preset, overrides=overrides, flags=flags)
    if resolved is None or found:
        raise configuration_error(found)
    return resolved


def examine(
    schema: type[Section],
    *,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> tuple[Resolved | None, list[Problem]]:
    """Like `resolve`, but hands back the problems, and the configuration without the values they blame.

    None if it cannot be built even so. Files that cannot be read at all still raise.
    """
    from nlpx.configuration import tree as preset_tree

    tree, chain = _layers(schema, preset=preset, overrides=overrides, flags=flags or {})
    config, found = _validated(schema, tree=tree, show=preset)
    if found:
        for problem in found:
            tree = preset_tree.without(tree, problem.path)
        config, _ = _validated(schema, tree=tree, show=None)
    if config is None:
        return None, found
    return Resolved(config=config, origins=_origins(config, tree), chain=chain), found


def configuration_error(found: Sequence[Problem]) -> UsageError:
    """One error that says all problems; with a single one the hints stand apart."""
    if len(found) == 1:
        return UsageError(f"{found[0].place}: {found[0].text}", hint="\n".join(found[0].hints) or None)
    return UsageError("\n".join(map(str, found)))


def schema_of(group: str) -> type[Section]:
    """The configuration class of a command, `nlpx.jobs.<group>.Config`; unknown groups are a `UsageError`."""
    if group not in groups():
        message, hint = registry.unknown("group of presets", group, groups())
        raise UsageError(message, hint=hint)
    config: type[Section] = registry.load("jobs", job_of(group)).Config
    return config


def flatten(data: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value of every leaf, in order; lists and empty mappings are leaves."""
    return {".".join(path): value for path, value in _leaves(data)}


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Dotted key and both values wherever two configurations differ; None stands for an absent key."""
    left, right = flatten(first), flatten(second)
    keys = [*left, *(key for key in right if key not in left)]
    return [(key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)]


def _layers(
    schema: type[Section], *, preset: str | None, overrides: Sequence[str], flags: Mapping[str, Any]
) -> tuple[Node, list[str]]:
    from nlpx.configuration import tree as preset_tree
    from nlpx.configuration.renamed import with_new_names

    files = lineage(find(preset)) if preset is not None else []
    layers = [preset_tree.parse(read(path), source=label(path)) for path in files]
    layers = [preset_tree.without(layer, ["extends"]) for layer in layers]
    given = {key: value if isinstance(value, Flag) else Flag(value, _option(key)) for key, value in flags.items()}
    layers += _of_flags({key: flag for key, flag in given.items() if flag.yields})
    layers += [preset_tree.parse_override(argument) for argument in overrides]
    layers += _of_flags({key: flag for key, flag in given.items() if not flag.yields})
    place = preset_tree.Place(label(files[-1]) if files else "configuration")
    tree = preset_tree.Node({}, place)
    for layer in layers:  # from the weakest to the strongest
        layer = with_new_names(_with_mappings(layer, schema))
        tree = preset_tree.merge(_without_alternatives(tree, layer, schema), layer)
    return replace(tree, place=place), [label(path) for path in files]


def _without_alternatives(tree: Node, layer: Node, schema: type[Section]) -> Node:
    """`tree` without the keys of files for which the stronger `layer` sets an alternative, section by section.

    What the command line itself sets stays: two alternatives there are a contradiction, not a choice.
    """
    if not (tree.is_mapping and layer.is_mapping):
        return tree
    chosen = {key for key, node in layer.value.items() if not node.is_null}
    gone = {other for pair in schema.ALTERNATIVES for key, other in (pair, pair[::-1]) if key in chosen}
    children = {}
    for key, child in tree.value.items():
        inner = section_of(schema.model_fields[key].annotation) if key in schema.model_fields else None
        if key in gone and key not in layer.value and not child.place.source.startswith("--"):
            continue
        below = layer.value.get(key)
        children[key] = child if inner is None or below is None else _without_alternatives(child, below, inner)
    return replace(tree, value=children)


def _option(key: str) -> str:
    return "--" + key.rpartition(".")[2].replace("_", "-")


def _of_flags(flags: Mapping[str, Flag]) -> list[Node]:
    from nlpx.configuration import tree as preset_tree

    return [
        preset_tree.nest(key, preset_tree.from_value(flag.value, place=preset_tree.Place(flag.option)))
        for key, flag in flags.items()
        if flag.value is not None
    ]


def _with_mappings(node: Node, schema: type[Section]) -> Node:
    """`node` with every list of plug-ins turned into a mapping that replaces weaker ones.

    Node and schema are descended together: only the schema tells which lists name plug-ins. Unknown keys
    stay as they are, for validation to report with their place.
    """
    if not node.is_mapping:
        return node
    children = {}
    for key, child in node.value.items():
        mark = marker(schema, key)
        inner = section_of(schema.model_fields[key].annotation) if key in schema.model_fields else None
        if isinstance(mark, Plugins):
            child = _plugin_mapping(child, mark.folder)
        elif inner is not None:
            child = _with_mappings(child, inner)
        children[key] = child
    return replace(node, value=children)


def _plugin_mapping(node: Node, folder: str) -> Node:
    """Names and settings of plug-ins as a mapping; a word is a list with commas, and `none` an empty one."""
    from nlpx.configuration.tree import Node

    if node.value is None:
        return node
    children: dict[str, Node] = {}
    for item in _plugin_items(node):
        single = item.value if item.is_mapping else {str(item.value): Node({}, item.place)}
        name = registry.spelt_out(folder, next(iter(single))) if len(single) == 1 else None
        if name is None or name in children or isinstance(item.value, list):
            hint = "write `- name` or `- name: {key: value}`, each name once"
            raise UsageError(f"{item.place}: not one name, or a name given twice", hint=hint)
        children[name] = next(iter(single.values()))
    return Node(children, node.place, whole=not node.is_mapping)


def _plugin_items(node: Node) -> list[Node]:
    from nlpx.configuration.tree import Node

    if node.is_mapping:
        return [Node({key: child}, child.place) for key, child in node.value.items()]
    if isinstance(node.value, list):
        return list(node.value)
    words = [word.strip() for word in str(node.value).replace("+", ",").split(",")]
    return [Node(word, node.place) for word in words if words != ["none"]]


def _validated(schema: type[Section], *, tree: Node, show: str | None) -> tuple[Section | None, list[Problem]]:
    data = _data(tree, schema)
    try:
        return schema.model_validate(data), []
    except pydantic.ValidationError as error:
        from nlpx.configuration.problems import problems

        return None, problems(error, tree=tree, data=data, schema=schema, show=show)


def _data(node: Node, annotation: Any) -> Any:
    """Plain data for pydantic, each word read as the type of its field wants it.

    Tree and types are descended together, because a word such as `1e3` or `off` has its meaning from the field alone;
    the types of plug-in fields follow from the values beside them (`siblings`), which name the plug-ins.
    """
    if node.text is not None and not node.is_null and takes_only_text(annotation):
        return node.text
    if isinstance(node.value, list):
        return [_data(item, item_type(annotation)) for item in node.value]
    if not isinstance(node.value, dict):
        return node.value
    section = section_of(annotation)
    siblings = {key: dict(child.value) if child.is_mapping else child.value for key, child in node.value.items()}
    data: dict[str, Any] = {}
    for key, child in node.value.items():
        kind = item_type(annotation) if section is None else field_type(section, key, siblings)
        if child.is_null and not takes_none(kind):
            continue  # cleared: the default comes back, or the plug-in goes
        # `ema:` with nothing after it is the plug-in with its default settings.
        empty = child.value is None and section_of(kind) is not None and not takes_none(kind)
        data[key] = {} if empty else _data(child, kind)
    return data


def _origins(config: Section, tree: Node) -> dict[str, str]:
    from nlpx.configuration.tree import walk

    origins = {}
    for path, value in _leaves(_plain(config)):
        steps = [node for _, node in walk(tree, path)]
        # A scalar or list may stand for a whole section; a mapping that lacks the key says nothing about it.
        given = steps and (len(steps) == len(path) or not steps[-1].is_mapping)
        cleared = steps and steps[-1].is_null and value is not None
        origins[".".join(path)] = steps[-1].place.origin if given and not cleared else "default"
    return origins


def _leaves(data: Mapping[str, Any], *, parents: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, parents=(*parents, str(key)))
        else:
            yield (*parents, str(key)), value


def _plain(config: Section) -> dict[str, Any]:
    return config.model_dump(mode="json")
