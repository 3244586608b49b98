"""The command line called as a user calls it, with exit code, stdout and stderr apart."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Nlpx = Callable[..., Outcome]


@pytest.fixture
def nlpx(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nlpx:
    """`main` in this process: quick, and tests may replace parts of it."""
    from nlpx_cli.__main__ import main

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("NLPX_DEBUG", "0")

    def call(*words: str) -> Outcome:
        capsys.readouterr()
        code = main(words)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def nlpx_process(tmp_path: Path) -> Nlpx:
    """`python -m nlpx_cli` as a process of its own, in an empty folder."""

    def call(*words: str, environment: dict[str, str] | None = None) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "nlpx_cli", *words],
            capture_output=True,
            encoding="utf-8",
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "80"} | (environment or {}),
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call
