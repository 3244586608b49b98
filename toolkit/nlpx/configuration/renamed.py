"""Keys of presets that were renamed. The old names keep working, above all in run folders of earlier versions.

A new line here is all that renaming a key takes; it may go once no run of that version is resumed any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nlpx.configuration.tree import Node
from nlpx.errors import UsageError

RENAMED = {
    "objectives.mlm.mask_share": "mask_fraction",
    "objectives.mlm.random_share": "random_fraction",
}


def with_new_names(tree: Node) -> Node:
    """The tree with every old key under its new name, at its old place. Raises `UsageError` where both are given."""
    for dotted, name in RENAMED.items():
        tree = _renamed(tree, dotted.split("."), name)
    return tree


def _renamed(node: Node, path: Sequence[str], name: str) -> Node:
    key, *rest = path
    if not node.is_mapping or key not in node.value:
        return node
    if rest:
        return replace(node, value=node.value | {key: _renamed(node.value[key], rest, name)})
    if name in node.value:
        raise UsageError(f"{node.value[key].place}: `{key}` is an earlier name of `{name}`", hint="give one of them")
    return replace(node, value={name if one == key else one: child for one, child in node.value.items()})
