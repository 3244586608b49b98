"""The pages of the documentation by topic: those of the commands and those that several of them point to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from nlpx.configuration import registry
from nlpx.errors import UsageError

_CHINESE = "zh"


class Topic(NamedTuple):
    """A page: its name, what it is about, and whether it is there in Chinese too."""

    topic: str
    about: str
    chinese: bool


def documents_folder() -> Path:
    """Where the pages are: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parents[2]
    packaged = package / "bundled" / "docs"
    return packaged if packaged.is_dir() else package.parents[1] / "docs"


def topics() -> list[Topic]:
    """All pages, by name."""
    pages, chinese = _pages(), _pages(_CHINESE)
    return [Topic(name, _about(pages[name]), name in chinese) for name in sorted(pages)]


def page(topic: str, *, chinese: bool = False) -> str:
    """The Markdown of a page. Raises UsageError with near names, and where it is not there in Chinese."""
    pages = _pages()
    if topic not in pages:
        message, hint = registry.unknown("topic", topic, sorted(pages))
        raise UsageError(message, hint=hint)
    if chinese:
        pages = _pages(_CHINESE)
        if topic not in pages:
            raise UsageError(f"`{topic}` is in English only", hint=f"in Chinese: {', '.join(sorted(pages))}")
    return pages[topic].read_text(encoding="utf-8")


def _pages(language: str | None = None) -> dict[str, Path]:
    root = documents_folder() / (language or "")
    return {path.stem: path for folder in (root, root / "commands") for path in folder.glob("*.md")}


def _about(path: Path) -> str:
    """The first sentence below the heading."""
    with path.open(encoding="utf-8") as lines:
        first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    sentence = re.split(r"(?<=[.:])\s", first.strip())[0].rstrip(".:")
    return re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", sentence)
