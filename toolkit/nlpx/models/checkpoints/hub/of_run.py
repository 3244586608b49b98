"""A run folder where a checkpoint belongs: it stands for its best checkpoint."""

from __future__ import annotations

from pathlib import Path

from nlpx.errors import InputError

_BEST = Path("checkpoints", "best")


def checkpoint_of(path: Path) -> Path:
    """The best checkpoint of a run folder; any other path as it is. Raises `InputError` for a run without one."""
    if (path / "config.json").exists():
        return path
    best = path / _BEST
    if best.is_dir():
        return best
    if (path / "manifest.json").is_file() and (path / "config.yaml").is_file():
        hint = "a run has one from its first evaluation on; `nlpx runs show` says how far it came"
        raise InputError(f"{path}: a run folder without a checkpoint: {best} is not there", hint=hint)
    return path
