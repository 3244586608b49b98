"""What a manifest states about the circumstances of a run, gathered without importing anything heavy."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nlpx.data.opening.remote import is_url, without_password

HASHED_BYTES = 64 * 2**20  # of a longer file only the beginning is hashed: a start should not read 100 GB

_LIBRARIES = ("torch", "numpy", "transformers", "tokenizers", "safetensors", "pydantic", "rjieba", "jieba")


def library_versions() -> dict[str, str]:
    """Versions of Python, the system and the installed libraries that results may depend on."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def git_state() -> dict[str, Any] | None:
    """Commit of the checkout in the current folder and whether it has changes; None outside of one."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}


def input_facts(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Path, size and SHA-256 of every input file, those of a folder one by one; `-` (stdin) by name only.

    Of files beyond `HASHED_BYTES` the first so many bytes are hashed, and `hashed_bytes` says how many.
    """
    facts: list[dict[str, Any]] = []
    for given in paths:
        if is_url(str(given)):
            facts.append({"path": without_password(str(given)), "size": None, "sha256": None})
            continue
        path = Path(given)
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        facts += [_file_facts(file) for file in files]
    return facts


def peak_memory() -> int | None:
    """The most memory this process held so far, in bytes; None where the system does not tell it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)  # macOS counts bytes, Linux kilobytes


def peak_device_memory() -> int | None:
    """The most memory of the CUDA device that tensors held so far, in bytes; None without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())


def _file_facts(path: Path) -> dict[str, Any]:
    if not path.is_file():  # stdin, a pipe, a hub name
        return {"path": str(path), "size": None, "sha256": None}
    digest = hashlib.sha256()
    num_hashed = 0
    with path.open("rb") as handle:
        while num_hashed < HASHED_BYTES and (chunk := handle.read(min(2**20, HASHED_BYTES - num_hashed))):
            digest.update(chunk)
            num_hashed += len(chunk)
    return {
        "path": str(path),
        "size": path.stat().st_size,
        "sha256": digest.hexdigest(),
        "hashed_bytes": num_hashed,
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
