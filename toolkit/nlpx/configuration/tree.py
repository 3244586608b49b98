"""YAML with places: every value has the file, line and column (or the option) that it came from.

The text is read with PyYAML's composer, which builds no objects, so nothing in a preset can run code. Plain
words are understood as in YAML 1.2 rather than 1.1: `1e-3` is a number, and `off`, `no` and `yes` are text (a
field of type bool still accepts them). What a word means is finally up to the type of its field, so the text as
written is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from nlpx.errors import UsageError

_NULLS = ("null", "Null", "NULL", "~")
_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")  # Python refuses to convert endless ones
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_PLAIN_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


@dataclass(frozen=True)
class Place:
    """Where a value was given: a file with line and column (from 1), or the option that set it."""

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)

    @property
    def origin(self) -> str:
        """The place without its column; for `--set a.b=c` just `--set`."""
        if self.line is not None:
            return f"{self.source}:{self.line}"
        return self.source.split(" ", 1)[0] if self.source.startswith("--") else self.source


@dataclass(frozen=True)
class Node:
    """One value of a configuration file; mappings and lists hold nodes."""

    value: Any
    place: Place
    text: str | None = None  # as written, where it could also be meant as text
    whole: bool = False  # takes the place of what it is merged onto, even if both are mappings

    @property
    def is_mapping(self) -> bool:
        """Whether the value is a mapping from keys to nodes."""
        return isinstance(self.value, dict)

    @property
    def is_null(self) -> bool:
        """Whether it was written out as `null`, which clears a value; a key without anything after it is not."""
        return self.value is None and self.text in _NULLS


def parse(text: str, *, source: str) -> Node:
    """The tree of a YAML document whose top level is a mapping (an empty document is an empty one).

    Raises `UsageError` with file, line and column for broken YAML, duplicate keys, tags and other top levels.
    """
    try:
        document = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise _syntax_error(error, source) from error
    except RecursionError:
        raise UsageError(f"{source}: nested too deeply", hint="a preset has a few levels of keys") from None
    if document is None:
        return Node({}, Place(source))
    root = _convert(document, source)
    if not root.is_mapping:
        raise UsageError(f"{root.place}: a preset maps keys to values", hint="write `key: value` lines")
    return replace(root, place=Place(source))


def parse_override(argument: str) -> Node:
    """The tree of one `--set a.b=c`; raises `UsageError` if there is no key or no `=`."""
    source = f"--set {argument}"
    dotted, equals, raw = argument.partition("=")
    if not equals or not all(dotted.split(".")):
        raise UsageError(f"{source}: not of the form KEY=VALUE", hint="for example: --set optim.learning_rate=2e-5")
    try:
        document = yaml.compose(raw, Loader=yaml.BaseLoader)
        node = Node(None, Place(source)) if document is None else _convert(document, source, located=False)
    except RecursionError:
        raise UsageError(f"{source[:80]}: nested too deeply", hint="a setting has a few levels of keys") from None
    except (yaml.YAMLError, UsageError):
        node = Node(raw, Place(source))  # text that happens to be no YAML, such as `@name` or `*.txt`
    quoted = isinstance(node.value, str) and node.text is None
    return nest(dotted, node if quoted else replace(node, text=raw))


def from_value(value: Any, *, place: Place) -> Node:
    """The tree of a Python value, for values that came from a dedicated option."""
    if isinstance(value, Mapping):
        return Node({str(key): from_value(item, place=place) for key, item in value.items()}, place)
    if isinstance(value, list | tuple):
        return Node([from_value(item, place=place) for item in value], place)
    return Node(str(value) if isinstance(value, Path) else value, place)


def nest(dotted: str, node: Node) -> Node:
    """`node` inside one mapping per part of the dotted key."""
    for key in reversed(dotted.split(".")):
        node = Node({key: node}, node.place)
    return node


def plain(node: Node) -> Any:
    """The values of a tree without their places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    return [plain(item) for item in node.value] if isinstance(node.value, list) else node.value


def merge(base: Node, over: Node) -> Node:
    """`over` laid onto `base`: mappings key by key, anything else replaced; the order of `base` comes first."""
    if not (base.is_mapping and over.is_mapping) or over.whole:
        return over
    merged = dict(base.value)  # a copy: `base` may be a layer that others share
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return replace(base, value=merged)


def without(tree: Node, path: Sequence[str]) -> Node:
    """`tree` without the value at `path`; unchanged if there is none."""
    if not path or not tree.is_mapping or path[0] not in tree.value:
        return tree
    key, *rest = path
    if rest:  # a mapping that becomes empty stays: it may have been written to switch something on
        children = {**tree.value, key: without(tree.value[key], rest)}
    else:
        children = {name: child for name, child in tree.value.items() if name != key}
    return replace(tree, value=children)


def walk(tree: Node, path: Sequence[str | int], *, skip_missing: bool = False) -> Iterator[tuple[str | int, Node]]:
    """Follow `path` and yield each step and its node, up to the first part that the tree lacks, or past such parts.

    pydantic's error locations hold parts that are no keys, such as the member of a union: those are to be skipped.
    """
    for part in path:
        child = _child(tree, part)
        if child is not None:
            tree = child
            yield part, child
        elif not skip_missing:
            return


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.value, list):
        return node.value[part] if isinstance(part, int) and part < len(node.value) else None
    return node.value.get(part) if isinstance(node.value, dict) else None


def dump(data: Mapping[str, Any]) -> str:
    """YAML of plain data that `parse` reads back as the same values, in the order given."""
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes text that `parse` would take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_FLOAT_TAG = "tag:yaml.org,2002:float"
_Dumper.add_implicit_resolver(_FLOAT_TAG, re.compile(f"(?:{_FLOAT.pattern})$"), list("-+.0123456789"))


MOST_LEVELS = 32  # no preset needs a tenth of it; an anchor inside itself would never end
MOST_VALUES = 10_000  # anchors that repeat anchors make any number of values out of a few lines


def _convert(
    node: yaml.Node, source: str, *, located: bool = True, depth: int = 0, counter: Iterator[int] | None = None
) -> Node:
    mark, counter = node.start_mark, count() if counter is None else counter
    place = Place(source, mark.line + 1, mark.column + 1) if located else Place(source)
    if node.tag not in _PLAIN_TAGS:
        raise UsageError(f"{place}: the tag `{node.tag}` is not allowed in a preset", hint="write plain values")
    if depth > MOST_LEVELS:
        raise UsageError(f"{place}: nested too deeply", hint="does an anchor refer to itself?")
    if next(counter) >= MOST_VALUES:
        raise UsageError(f"{place}: more than {MOST_VALUES:,} values", hint="do anchors repeat each other?")
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, place)
    is_list = isinstance(node, yaml.SequenceNode)
    parts = node.value if is_list else [part for pair in node.value for part in pair]
    children = [_convert(part, source, located=located, depth=depth + 1, counter=counter) for part in parts]
    return Node(children if is_list else _mapping(children), place)


def _mapping(children: list[Node]) -> dict[str, Node]:
    mapping: dict[str, Node] = {}
    for key, value in zip(children[::2], children[1::2], strict=True):
        name = key.text or key.value
        if not isinstance(name, str):
            raise UsageError(f"{key.place}: a key is a single word", hint="write `key: value` lines")
        if name in mapping:
            raise UsageError(f"{key.place}: `{name}` is given twice", hint="remove one of them")
        # The key's place serves for its value too: that is where a reader looks.
        mapping[name] = replace(value, place=key.place)
    return mapping


def _scalar(node: yaml.ScalarNode, place: Place) -> Node:
    if node.style is not None:  # quoted or a block: text, whatever it looks like
        return Node(node.value, place)
    if node.value == "":
        return Node(None, place)
    return Node(_meaning(node.value), place, text=node.value)


def _meaning(word: str) -> Any:
    if word in _NULLS:
        return None
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if _INTEGER.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    return float(word.replace(".", "")) if _SPECIAL_FLOAT.fullmatch(word) else word


def _syntax_error(error: yaml.YAMLError, source: str) -> UsageError:
    mark = getattr(error, "problem_mark", None)
    place = Place(source) if mark is None else Place(source, mark.line + 1, mark.column + 1)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    return UsageError(f"{place}: not valid YAML: {problem}", hint="quote text that holds special characters")
