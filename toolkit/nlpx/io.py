"""Files that are never seen half-written: everything is made beside its target, synced and renamed.

A kill at any moment leaves either the old content or the new one. A single file needs one rename. A directory
needs two, because no call puts a directory in place of a full one: `recover_directory` repairs the state
between them.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nlpx.errors import MachineError
from nlpx.faults import FAULTS

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds. Raises `ValueError` for whatever is wrong with it, also for nesting too deep to read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed, on failure removed.

    The old file stays untouched until the rename. A full disk raises `MachineError` naming `path`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target)
    temporary = _temporary(target)
    try:
        with full_disk_named(target, "the previous file is untouched"):
            yield temporary
            _sync(temporary)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(target.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with `\\n` line ends, atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, obj: Any) -> None:
    """Write `obj` as indented JSON, atomically; Chinese stays readable and NaN or infinity become null."""
    write_text(path, json.dumps(finite(obj), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def finite(obj: Any) -> Any:
    """`obj` with every NaN and infinity replaced by None, because JSON has no word for them."""
    if isinstance(obj, dict):
        return {key: finite(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [finite(value) for value in obj]
    if isinstance(obj, float) and (obj != obj or obj in (float("inf"), float("-inf"))):
        return None
    return obj


@contextmanager
def replace_directory(target: str | Path) -> Iterator[Path]:
    """Yield a temporary directory beside `target`; on success it takes its place, on failure it is removed.

    Every file is synced first, then `target` is renamed to `target.old`, the temporary to `target`, and the
    old one deleted. A full disk raises `MachineError`; the previous directory is untouched then.
    """
    final = recover_directory(target)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(final)
    temporary.mkdir()
    try:
        with full_disk_named(final, "the previous one is untouched"):
            yield temporary
            _sync_tree(temporary)
        _swap(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover_directory(target: str | Path) -> Path:
    """Repair what a kill inside `replace_directory` can leave; returns `target` (which may still not exist).

    If `target` is gone and `target.old` is there, the old one is put back; a leftover `target.old` beside a
    whole `target` and the temporaries of dead processes are deleted.
    """
    final = Path(target)
    old = _old(final)
    if old.exists() and not final.exists():
        old.replace(final)
    elif old.exists():
        shutil.rmtree(old)
    _remove_stale(final)
    return final


def process_is_alive(number: int) -> bool:
    """Whether a process of this number runs on this machine; False where the system has no way to ask."""
    if os.name == "nt":  # there, signal 0 would end the process instead of asking
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def full_disk_named(target: Path, consequence: str) -> Iterator[None]:
    """Turn "no space left" inside the block into a `MachineError` that names `target` and what became of it."""
    try:
        yield
    except Exception as error:
        number = _number_of_full_disk(error)
        if number is None:
            raise
        _, what, hint = FAULTS[number]
        raise MachineError(f"{target}: {what}; {consequence}", hint=f"{hint}; write elsewhere with --out") from error


def _number_of_full_disk(error: BaseException | None) -> int | None:
    if isinstance(error, MachineError):  # of a file inside a directory: the directory is what the user knows
        return _number_of_full_disk(error.__cause__)
    if isinstance(error, OSError):
        return error.errno if error.errno in _FULL else None
    # safetensors writes outside Python: its error carries the system's number in its text alone.
    return next((number for number in _FULL if f"(os error {number})" in str(error)), None)


def _temporary(target: Path) -> Path:
    # The process number tells a later run whether whoever wrote this is still at work.
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def _old(target: Path) -> Path:
    return target.with_name(target.name + ".old")


def _swap(temporary: Path, final: Path) -> None:
    old = _old(final)
    if final.exists():
        final.replace(old)
    temporary.replace(final)
    _sync_directory(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _remove_stale(target: Path) -> None:
    for stale in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        if _writer_is_alive(stale):
            continue
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink(missing_ok=True)


def _writer_is_alive(temporary: Path) -> bool:
    number = temporary.name.rsplit(".", 2)[-2]
    # A temporary of this very process number is a leftover too: nothing here writes one target twice at once.
    return number.isdigit() and int(number) != os.getpid() and process_is_alive(int(number))


def _sync_tree(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def _sync_directory(directory: Path) -> None:
    # Makes the rename itself durable; platforms that cannot open a directory do without.
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
