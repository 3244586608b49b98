"""The documentation as data: its blocks, command lines, tables, links and headings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
DOCUMENTS = [README, CHINESE, *sorted((ROOT / "docs").rglob("*.md"))]
# Their command lines are those of the English page, which is typed for both.
TRANSLATIONS = {CHINESE: README} | {
    ROOT / "docs" / "zh" / f"{page}.md": ROOT / "docs" / f"{page}.md" for page in ("start", "data", "errors")
}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    language: str
    text: str


def name(document: Path) -> str:
    """`docs/commands/finetune.md`."""
    return document.relative_to(ROOT).as_posix()


def blocks(document: Path, *languages: str) -> list[Block]:
    """The fenced blocks, all or those of some languages."""
    found = [Block(*match.groups()) for match in _FENCE.finditer(document.read_text(encoding="utf-8"))]
    return [block for block in found if not languages or block.language in languages]


def command_lines(document: Path) -> list[str]:
    """Command lines of `sh` blocks, and those after `$` in `console` blocks; continued lines joined, comments gone."""
    lines = []
    for block in blocks(document, "sh", "console"):
        for line in block.text.replace("\\\n", " ").splitlines():
            if block.language == "console":
                line = line[2:] if line.startswith("$ ") else ""
            line = re.sub(r"(^|\s+)#\s.*$", "", line).strip()
            lines += [line] if line else []
    return lines


def prose(document: Path) -> str:
    """The text without its blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def section(document: Path, title: str) -> str:
    """What stands under a heading of the second level."""
    parts = re.split(r"^## (.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def first_column(text: str) -> list[str]:
    """The names in backticks in the first cells of the tables."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [found for cell in cells for found in re.findall(r"`([^`]+)`", cell)]


def links(document: Path) -> list[str]:
    """Targets of the links that stay in the project."""
    targets = _LINK.findall(prose(document))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(document: Path) -> set[str]:
    """What `#...` may point to, by GitHub's rule."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> dict[tuple[str, ...], Any]:
    """Every command by its words; () is `nlpx` itself. Hidden ones are other names of commands that are shown."""
    from nlpx_cli.app import build

    def walk(command: Any, words: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
        found = {words: command}
        for name, child in getattr(command, "commands", {}).items():
            if not child.hidden:
                found |= walk(child, (*words, name))
        return found

    return walk(build(), ())


def examples(command: Any) -> list[str]:
    """The lines under `Examples:` of a command's help."""
    _, _, after = (command.help or "").partition("Examples:\n")
    return [line.strip() for line in after.split("\n\n")[0].splitlines() if line.strip()]
