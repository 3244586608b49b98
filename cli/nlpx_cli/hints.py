"""Hints name only options that the command has: readers are shared by commands, their options are not all."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# A way out by another command has options of its own.
_OTHER_COMMAND = re.compile(r"\b(nlpx|pip|git|jq|iconv|tar|unzip|sqlite3|torchrun) ")


def fitting(hint: str | None, options: Collection[str]) -> str | None:
    """Return a hint without the ways out, separated by `; `, that need an option the command lacks.

    None if none is left.
    """
    if hint is None:
        return None
    lines = ["; ".join(_usable(line.split("; "), options)) for line in hint.splitlines()]
    return "\n".join(line for line in lines if line).removeprefix("or ") or None


def _usable(ways: Sequence[str], options: Collection[str]) -> list[str]:
    return [way for way in ways if _OTHER_COMMAND.search(way) or set(_OPTION.findall(way)) <= set(options)]


def options_of(words: Sequence[str]) -> set[str]:
    """Return all options of the command that some words call."""
    from nlpx_cli.app import build

    command = build()
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return {*options, "--help", "--debug"}
