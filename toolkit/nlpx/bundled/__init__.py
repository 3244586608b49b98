"""Samples and weights that ship with the package, each in a folder with a card (`README.md`)."""

from __future__ import annotations

from pathlib import Path

from nlpx.configuration import registry
from nlpx.errors import UsageError

_FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """Return what ships: the folders that have a card."""
    return sorted(card.parent.name for card in _FOLDER.glob("*/README.md"))


def models() -> list[str]:
    """Return the shipped checkpoints among them."""
    return [name for name in names() if (_FOLDER / name / "config.json").exists()]


def path(name: str) -> Path:
    """Return the folder of something shipped. Raises UsageError with near names, then the list."""
    if name not in names():
        message, hint = registry.unknown("shipped sample or model", name, names())
        raise UsageError(message, hint=hint)
    return _FOLDER / name
