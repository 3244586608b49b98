"""What a manifest may hold: one that something else has changed is refused by the key that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from nlpx.errors import InputError


def _is_time(value: Any) -> bool:
    try:
        return value is None or bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _is_metric(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    number = value.get("value", "absent")
    return number is None or (isinstance(number, int | float) and not isinstance(number, bool))


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _lists(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_right, value))


def _has_text(key: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and isinstance(value.get(key), str)


def _is_commit(value: Any) -> bool:
    return not value or _has_text("commit")(value)


_optional_number, _texts = _is(int, type(None)), _lists(_is(str))
CHECKS: dict[str, Callable[[Any], bool]] = {
    "state": _is(str),
    "process": _is(int),
    "host": _is(str),
    "start": _is_time,
    "end": _is_time,
    "exit_code": _optional_number,
    "peak_memory": _optional_number,
    "command_line": _texts,
    "presets": _texts,
    "inputs": _lists(_has_text("path")),
    "resumed": _lists(_is(dict)),
    "git": _is_commit,
    "libraries": _is(dict),
    "primary_metric": _is_metric,
    "headline": _is_metric,  # what earlier versions called it
}


def checked(data: Any, file: Path) -> dict[str, Any]:
    """The manifest as it is. Raises `InputError` for anything that no run has written."""
    hint = "copy it from a backup, or repeat the run and remove its folder"
    if not isinstance(data, dict):
        raise InputError(f"{file}: not a JSON object", hint=hint)
    for key, is_right in CHECKS.items():
        if key in data and not is_right(data[key]):
            raise InputError(f"{file}: `{key}` is {str(data[key])[:60]!r}, which no run writes", hint=hint)
    return data
