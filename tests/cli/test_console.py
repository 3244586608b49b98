"""Streams and modes of the console: what goes where, and what the log keeps."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings

import pytest

from nlpx_cli import progress as progress_module
from nlpx_cli.console import Console


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    monkeypatch.setattr(Console, "current", None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


def _say_everything(console: Console) -> None:
    console.note("note")
    console.detail("detail")
    console.warn("旧")
    console.warn("旧")
    console.hint("try this")
    console.table(["名", "f1"], [["短", 0.51234567], ["long", None]])
    console.rows([{"名": "甲"}])
    console.listing([{"key": "a", "value": 1}])
    console.result({"run": "runs/x", "score": 0.5}, value="runs/x")
    console.error("broken", hint="mend it", exit_code=3)


def test_text(capsys):
    _say_everything(Console())
    out, err = capsys.readouterr()
    assert out == '{"名": "甲"}\nkey  value\na    1\nruns/x\n'
    assert err == "note\nWarning: 旧\nNext: try this\n名    f1\n短    0.5123\nlong  -\nError: broken\n  mend it\n"


def test_json(capsys):
    _say_everything(Console(json=True))
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"名": "甲"},
        {"key": "a", "value": 1},
        {"run": "runs/x", "score": 0.5},
    ]
    assert [json.loads(line) for line in err.splitlines()] == [
        {"warning": "旧"},
        {"error": "broken", "hint": "mend it", "exit": 3},
    ]


def test_quiet(capsys):
    _say_everything(Console(quiet=True))
    out, err = capsys.readouterr()
    assert out == '{"名": "甲"}\na\nruns/x\n'
    assert err == "Error: broken\n  mend it\n"


def test_verbose_stays_off_stdout(capsys):
    Console(verbose=True).detail("0.3 s")
    assert capsys.readouterr() == ("", "0.3 s\n")


@pytest.mark.parametrize("mode", [{}, {"json": True}, {"quiet": True}])
def test_the_log_keeps_what_people_are_told_in_every_mode(tmp_path, mode):
    console = Console(**mode)
    console.log_to(tmp_path / "log.txt")
    _say_everything(console)
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert log.startswith("note\ndetail\nWarning: 旧\nNext: try this\n")
    assert log.endswith("Error: broken\n  mend it\n")


def test_warnings_of_libraries_go_to_the_log(tmp_path, capsys):
    console = Console()
    console.log_to(tmp_path / "log.txt")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = console._library_warning  # type: ignore[assignment]
        warnings.warn("something moved", stacklevel=1)
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "log.txt").read_text() == "Warning: something moved\n"


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(progress_module.time, "monotonic", clock)
    return clock


def test_progress_in_a_pipe_is_one_line_per_interval(capsys, clock):
    with Console().progress(100, "train") as progress:
        for step in range(1, 101):
            clock.now += 0.5
            progress.update(completed=step, loss=1 / step, rate="9 rows/s")
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 20  # every 5 %
    assert lines[0] == "train 5/100  loss 0.2  rate 9 rows/s  0:48 left"
    assert lines[-1].startswith("train 100/100  loss 0.01")


def test_progress_without_a_total_goes_by_time(capsys, clock):
    with Console().progress(None, "read") as progress:
        for _ in range(50):
            clock.now += 0.5
            progress.update(advance=1)
    assert capsys.readouterr().err.splitlines() == ["read 20", "read 40", "read 50"]


def test_a_resumed_run_estimates_from_what_it_did_itself(capsys, clock):
    with Console().progress(100, "train", initial=80) as progress:
        clock.now += 10
        progress.update(completed=90)
    assert capsys.readouterr().err == "train 90/100  0:10 left\n"


@pytest.mark.parametrize("mode", [{"json": True}, {"quiet": True}])
def test_no_progress_in_other_modes(capsys, clock, mode):
    with Console(**mode).progress(2, "train") as progress:
        clock.now += 60
        progress.update(completed=2)
    assert capsys.readouterr() == ("", "")


def _read_all(leader: int) -> str:
    parts = []
    with contextlib.suppress(OSError):  # how the end of a terminal is told
        while part := os.read(leader, 4096):
            parts.append(part)
    os.close(leader)
    return b"".join(parts).decode()


def test_a_terminal_gets_a_bar_and_the_log_plain_lines(tmp_path, monkeypatch, clock):
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        console = Console()
        console.log_to(tmp_path / "log.txt")
        with console.progress(4, "train") as progress:
            clock.now += 20
            progress.update(completed=4, loss=0.25)
            console.note("saved")
    seen = _read_all(leader)
    assert "4/4" in seen
    assert "saved" in seen
    assert "\x1b[3" not in seen  # movements, but no colours
    assert (tmp_path / "log.txt").read_text() == "train 4/4  loss 0.25  0:00 left\nsaved\n"
