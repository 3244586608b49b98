"""One case per way to fail: exit code, stdout and stderr each pinned."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from nlpx import errors
from nlpx.runs.folder import RunFolder


@pytest.fixture
def failing(monkeypatch):
    """Replace the commands by `go`, which raises the given error."""

    def install(error: BaseException, *, before=lambda: None) -> None:
        app = typer.Typer(rich_markup_mode=None)
        app.callback()(lambda: None)

        @app.command("go")
        def go(json: bool = False) -> None:  # noqa: ARG001  an option of the command
            before()
            raise error

        monkeypatch.setattr("nlpx_cli.app.build", lambda: typer.main.get_command(app))

    return install


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.UsageError, 2), (errors.InputError, 3), (errors.MachineError, 4), (errors.ResultError, 5)],
)
def test_user_errors(nlpx, failing, error, code):
    failing(error("rows.jsonl:3: no field `标签`", hint="add it\nor rename it"))
    assert nlpx("go") == (code, "", "Error: rows.jsonl:3: no field `标签`\n  add it\n  or rename it\n")
    outcome = nlpx("go", "--json")
    assert (outcome.code, outcome.out) == (code, "")
    assert json.loads(outcome.err) == {
        "error": "rows.jsonl:3: no field `标签`",
        "hint": "add it\nor rename it",
        "exit": code,
    }


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Error: interrupted\n"),
        (OSError(errno.ENOSPC, "full", "a.txt"), 4, "Error: a.txt: no space left on the disk\n  free some space\n"),
        (
            PermissionError(errno.EACCES, "no", "b"),
            3,
            "Error: b: permission denied\n  check the owner and rights of the file\n",
        ),
    ],
)
def test_errors_of_the_system(nlpx, failing, error, code, said):
    failing(error)
    assert nlpx("go") == (code, "", said)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        type("OutOfMemoryError", (RuntimeError,), {})(),
    ],
)
def test_out_of_memory_says_what_to_change(nlpx, failing, error):
    failing(error)
    outcome = nlpx("go")
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith("Error: out of memory\n  halve the batch")


@pytest.mark.parametrize(
    ("number", "code", "what"),
    [
        (errno.EFBIG, 4, "the file would be larger than the disk or a limit allows"),
        (errno.EROFS, 4, "the disk is read-only"),
        (errno.EMFILE, 4, "too many open files"),
        (errno.EACCES, 3, "permission denied"),
        (errno.ENAMETOOLONG, 3, "the name is longer than the system allows"),
        (errno.EISDIR, 3, "a folder, where a file is expected"),
        (errno.ENOTDIR, 3, "a part of this path is a file, not a folder"),
    ],
)
def test_what_the_system_refuses_is_no_bug(nlpx, failing, number, code, what):
    failing(OSError(number, os.strerror(number), "some/file"))
    outcome = nlpx("go")
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith(f"Error: some/file: {what}\n  ")


def test_a_refusal_without_a_file_is_a_bug(nlpx, failing):
    failing(PermissionError(errno.EACCES, "not a file"))
    assert nlpx("go").code == 1


def test_a_name_that_is_too_long_is_shortened(nlpx):
    outcome = nlpx("wordfreq", "a" * 300 + ".txt")
    assert outcome.code == 3
    assert all(len(line) < 250 for line in outcome.err.splitlines())


def test_a_bug_names_its_place_and_keeps_the_traceback(nlpx, failing):
    failing(KeyError("loss"))
    outcome = nlpx("go")
    assert (outcome.code, outcome.out) == (1, "")
    first, second, third = outcome.err.splitlines()
    assert first.startswith("Error: this is a bug in nlpx: KeyError: 'loss' (test_failures.py:")
    stored = Path(second.removeprefix("  the full traceback is in "))
    assert "Traceback (most recent call last)" in stored.read_text(encoding="utf-8")
    stored.unlink()
    assert third == "  --debug shows it here"


@pytest.mark.parametrize("words", [("--debug", "go"), ("go", "--debug")])
def test_debug_shows_the_traceback_of_any_error(nlpx, failing, words):
    failing(errors.InputError("broken row"))
    outcome = nlpx(*words)
    assert outcome.code == 3
    assert "Traceback (most recent call last)" in outcome.err
    assert outcome.err.endswith("Error: broken row\n")


def test_the_traceback_of_a_run_lies_in_its_folder(nlpx, monkeypatch, tmp_path):
    app = typer.Typer()
    app.callback()(lambda: None)

    @app.command("go")
    def go() -> None:
        with RunFolder.create(command="go", name="x", config_yaml="", seed=1, device="cpu", out=tmp_path / "run"):
            raise ZeroDivisionError

    monkeypatch.setattr("nlpx_cli.app.build", lambda: typer.main.get_command(app))
    outcome = nlpx("go")
    assert outcome.code == 1
    assert str(tmp_path / "run" / "traceback.txt") in outcome.err
    assert "ZeroDivisionError" in (tmp_path / "run" / "traceback.txt").read_text()
    assert RunFolder.open(tmp_path / "run").manifest["exit_code"] == 1


def test_no_command_prints_help(nlpx):
    outcome = nlpx()
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("Usage: nlpx [OPTIONS] COMMAND [ARGS]...")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("preset",), "No such command 'preset'. Did you mean"),
        (("runs", "lst"), "No such command 'lst'. Did you mean 'list'?"),
        (("runs", "list", "--rot", "x"), "--root"),
        (("presets", "show"), "Missing argument 'PRESET'"),
    ],
)
def test_misspelt_words(nlpx, words, said):
    outcome = nlpx(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert said in outcome.err
    assert "Traceback" not in outcome.err


def test_misspelt_words_as_json(nlpx):
    outcome = nlpx("runs", "list", "--rot", "--json")
    assert (outcome.code, outcome.out) == (2, "")
    assert json.loads(outcome.err)["exit"] == 2


# --- what needs a process of its own


def test_version(nlpx_process):
    from nlpx import __version__

    assert nlpx_process("--version") == (0, f"nlpx {__version__}\n", "")


_ENDLESS = """
import sys, typer
from nlpx_cli import app
from nlpx_cli.__main__ import main
from nlpx_cli.console import Console
commands = typer.Typer()
commands.callback()(lambda: None)
@commands.command("go")
def go() -> None:
    {body}
app.build = lambda: typer.main.get_command(commands)
sys.exit(main(["go"]))
"""


def _start(body: str, **arguments) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _ENDLESS.format(body=body)], stderr=subprocess.PIPE, **arguments)


@pytest.mark.skipif(os.name == "nt", reason="no pipes of this kind")
@pytest.mark.parametrize("body", ["Console().rows({'n': n} for n in iter(int, 1))", "Console().text('word')"])
def test_a_reader_that_leaves_is_no_error(body):
    process = _start(body, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    if "rows" in body:
        assert json.loads(process.stdout.readline()) == {"n": 0}
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_another_broken_pipe_is_a_bug():
    process = _start("raise BrokenPipeError(32, 'worker gone')", stdout=subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == 1
    assert out == b""
    assert b"this is a bug in nlpx: BrokenPipeError" in err


@pytest.mark.skipif(os.name == "nt", reason="no such signal")
def test_ctrl_c():
    process = _start("import time; print('ready', flush=True); time.sleep(60)", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, b"Error: interrupted\n")


@pytest.mark.parametrize(
    "words",
    [
        ("wordfreq", ""),
        ("embed", "", "-o", "v.npy"),
        ("finetune", "--data", ""),
        ("predict", "", "rows.jsonl"),
        ("runs", "show", ""),
    ],
    ids=" ".join,
)
def test_an_empty_name_is_not_the_folder_one_works_in(nlpx, words):
    outcome = nlpx(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert "an empty name where" in outcome.err
