"""Folders that messages call by the name people gave, such as a repository instead of a path into a cache."""

from __future__ import annotations

_NAMES: dict[str, str] = {}


def call(folder: object, name: str) -> None:
    """Call a folder `name` in every message from now on."""
    _NAMES[str(folder)] = name


def with_names(text: str) -> str:
    """A message with the names of folders instead of their paths."""
    for folder, name in _NAMES.items():
        text = text.replace(folder, name)
    return text
