"""The directory from which a killed count continues: runs, and for each portion a list of the items that are in it.

A portion counts from the moment its list is renamed into place, after its runs were synced; a run that no list names
was left by a kill and is deleted. So no item is ever missing or in the result twice.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nlpx.counting.portions import Portion
from nlpx.counting.settings import CountSettings
from nlpx.counting.work import choose_block_bytes, choose_num_parts
from nlpx.data.opening.remote import is_url
from nlpx.data.opening.sources import Source
from nlpx.errors import InputError, UsageError
from nlpx.io import parse_json, process_is_alive, write_json

_STATE = "checkpoint.json"
_LOCK = "running"
# What the counts depend on; everything else may differ between two calls.
_SETTINGS = (
    *("unit", "ngram", "of", "words_only", "hmm", "segmenter", "user_dictionary", "tokenizer"),
    *("field", "encoding", "errors"),
)


class Checkpoint:
    """One count's state on disk: what is finished, and the division of the input that it refers to."""

    def __init__(self, folder: Path, sources: Sequence[Source], settings: CountSettings) -> None:
        self.folder = folder
        state = _read(folder / _STATE) if (folder / _STATE).exists() else None
        requested = _identity(sources, settings)
        if state is None:
            _refuse_foreign(folder)
            division = choose_block_bytes(sources, settings), choose_num_parts(sources, settings)
            state = {**requested, "block_bytes": division[0], "num_parts": division[1]}
            write_json(folder / _STATE, state)
        _refuse_other(folder, state, requested)
        self.block_bytes: int = state["block_bytes"]
        self.num_parts: int = state["num_parts"]
        self.portions = [_portion(_read(path)) for path in sorted(folder.glob("portion-*.json"))]
        self._remove_unlisted()

    @property
    def finished(self) -> set[int]:
        """The items whose counts are here."""
        return {index for portion in self.portions for index in portion.items}

    def record(self, portion: Portion) -> None:
        """Keep a portion for good. Raises MachineError if the disk is full."""
        for name in portion.runs:
            with (self.folder / name).open("rb+") as stream:
                os.fsync(stream.fileno())
        write_json(self.folder / f"portion-{secrets.token_hex(8)}.json", asdict(portion))
        self.portions.append(portion)

    def _remove_unlisted(self) -> None:
        listed = {name for portion in self.portions for name in portion.runs}
        for path in self.folder.glob("*.run"):
            if path.name not in listed:
                path.unlink()


@contextmanager
def open_checkpoint(sources: Sequence[Source], settings: CountSettings) -> Iterator[Checkpoint]:
    """Open or start the checkpoint of a count, for this process alone.

    Raises UsageError for a stream, for a folder of something else or in use, and, naming both, if it belongs to other
    inputs or settings.
    """
    for source in sources:
        if not source.repeatable:
            raise UsageError(f"{source.name} cannot be read again after a kill", hint="count without --checkpoint")
    folder = Path(str(settings.checkpoint))
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        yield Checkpoint(folder, sources, settings)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = folder / _LOCK
    with suppress(FileNotFoundError, ValueError):
        number = int(lock.read_text())
        if number != os.getpid() and process_is_alive(number):
            raise UsageError(f"{folder} is in use by process {number}", hint="wait for it, or name another folder")
    lock.write_text(str(os.getpid()))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _identity(sources: Sequence[Source], settings: CountSettings) -> dict[str, Any]:
    chosen = {name: getattr(settings, name) for name in _SETTINGS}
    if settings.user_dictionary is not None:
        chosen["user_dictionary_sha256"] = _digest(settings.user_dictionary)
    if settings.segments_words:
        from importlib.metadata import version

        chosen |= {name: version(name) for name in ("jieba", "rjieba")}
    return {"inputs": [_described(source) for source in sources], "settings": chosen}


def _described(source: Source) -> str:
    """An input as a text: what it is called, its size, and when it was last changed."""
    changed = "" if is_url(source.path) else f", changed {Path(source.path).stat().st_mtime_ns}"
    path = source.path if is_url(source.path) else Path(source.path).resolve()
    return f"{path} ({source.format}, {source.size} bytes{changed})"


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from None


def _refuse_foreign(folder: Path) -> None:
    others = [path.name for path in folder.iterdir() if path.name != _LOCK]
    if others:
        hint = "name an empty or new folder"
        raise UsageError(f"{folder} is no checkpoint of a count; it holds {others[0]}", hint=hint)


def _refuse_other(folder: Path, state: dict[str, Any], requested: dict[str, Any]) -> None:
    hint = "name another folder, or delete this one"
    for was, now in _pairs(state["inputs"], requested["inputs"]):
        if was != now:
            what = f"{folder} belongs to another input: it was {was or 'none'} and is {now or 'none'}"
            raise UsageError(what, hint=hint)
    for name in sorted({*state["settings"], *requested["settings"]}):
        was, now = state["settings"].get(name), requested["settings"].get(name)
        if was != now:
            raise UsageError(f"{folder} belongs to another count: `{name}` was {was} and is {now}", hint=hint)


def _pairs(was: list[str], now: list[str]) -> Iterator[tuple[str, str]]:
    longest = max(len(was), len(now))
    return zip(was + [""] * (longest - len(was)), now + [""] * (longest - len(now)), strict=True)


def _portion(content: dict[str, Any]) -> Portion:
    # Checkpoints of earlier versions call the items tasks.
    items = tuple(content.get("items", content.get("tasks", ())))
    return Portion(tuple(content["runs"]), items, content["num_texts"], content.get("num_empty", 0))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged", hint="delete the folder and count again")
    return content
