"""A run that was interrupted or killed and goes on ends with the same bytes as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny

SMALL = tiny.settings(
    *tiny.SMALL,
    "train.epochs=null",
    "train.steps=24",
    "optim.learning_rate=0.0005",
    "train.eval_every=6",
    "train.save_every=5",
    "model.new.hidden_dropout=0.2",
)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="no such signals")

# The command line in a process that sends itself a signal when the record of step 13 is written, or in the middle of
# the second replacement of `checkpoints/last`: between its two renames.
BREAK = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from nlpx import io
from nlpx.runs.folder import RunFolder
from nlpx_cli.__main__ import main
number, place = int(sys.argv[1]), sys.argv[2]
record, swap, swaps = RunFolder.metrics, io._swap, []
def metrics(run, values):
    record(run, values)
    if place == "step" and values["step"] == 13:
        os.kill(os.getpid(), number)
def half_swap(temporary, final):
    swaps.append(final)
    if place == "save" and final.name == "last" and sum(path.name == "last" for path in swaps) == 2:
        final.replace(io._old(final))
        os.kill(os.getpid(), number)
    swap(temporary, final)
RunFolder.metrics, io._swap = metrics, half_swap
sys.exit(main(sys.argv[3:]))
"""


def broken(number: signal.Signals, place: str, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-c", BREAK, str(int(number)), place, *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows(48))


@pytest.fixture
def unbroken(nlpx) -> Path:
    assert nlpx("finetune", "--data", "rows.jsonl", *SMALL, "--out", "whole", "--quiet") == (0, "whole\n", "")
    return Path("whole")


def assert_same_run(first: Path, second: Path) -> None:
    assert tiny.metrics(first) == tiny.metrics(second)
    for name in ("last/model.safetensors", "last/training.safetensors", "last/training.json", "best/model.safetensors"):
        assert (first / "checkpoints" / name).read_bytes() == (second / "checkpoints" / name).read_bytes(), name


def test_ctrl_c(nlpx, unbroken):
    code, out, err = broken(signal.SIGINT, "step", "finetune", "--data", "rows.jsonl", *SMALL, "--out", "run")
    assert (code, out) == (130, "")
    assert "finishing this step and saving; press Ctrl-C again to leave at once\n" in err
    assert err.endswith("Error: interrupted\n  the run is in run; go on with: nlpx finetune --resume run\n")
    manifest = json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))
    assert (manifest["state"], manifest["exit_code"]) == ("interrupted", 130)
    assert json.loads(Path("run/checkpoints/last/training.json").read_text(encoding="utf-8"))["step"] == 13
    outcome = nlpx("finetune", "--resume", "run")
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert "resumed run after step 13\n" in outcome.err
    manifest = json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))
    assert (manifest["state"], manifest["exit_code"], len(manifest["resumed"])) == ("finished", 0, 1)
    assert_same_run(unbroken, Path("run"))


@pytest.mark.parametrize(("place", "step"), [("step", 10), ("save", 5)])
def test_kill(nlpx, unbroken, place, step):
    words = ("finetune", "--data", "rows.jsonl", *SMALL, "--out", "run")
    code, out, _ = broken(signal.SIGKILL, place, *words)
    assert (code, out) == (-signal.SIGKILL, "")
    assert Path("run/checkpoints/last").exists() == (place == "step")  # in a save, only `last.old` is left
    outcome = nlpx("finetune", "--resume", "run")
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert f"resumed run after step {step}\n" in outcome.err
    assert_same_run(unbroken, Path("run"))
    assert sorted(path.name for path in Path("run/checkpoints").iterdir()) == ["best", "last"]


def test_a_run_from_a_checkpoint(nlpx):
    tiny.bert(Path("bert"), "BertModel")
    words = ("--model", "bert", *tiny.settings("train.batch_size=8", "data.max_length=24", "train.epochs=2"))
    assert nlpx("finetune", "--data", "rows.jsonl", *words, "--out", "whole").code == 0
    longer = tiny.metrics(Path("whole"))
    shorter = (*words, "--set", "train.save_every=3", "--out", "run")
    code, *_ = broken(
        signal.SIGKILL, "save", "finetune", "--data", "rows.jsonl", *shorter, "--set", "train.log_every=1"
    )
    assert code == -signal.SIGKILL
    assert nlpx("finetune", "--resume", "run", "--set", "train.log_every=10").code == 0
    resumed = tiny.metrics(Path("run"))
    assert [r for r in resumed if r["split"] == "dev"] == [r for r in longer if r["split"] == "dev"]
    weights = [Path(name, "checkpoints/last/model.safetensors").read_bytes() for name in ("whole", "run")]
    assert weights[0] == weights[1]


def test_a_longer_run_remembers_its_new_length(nlpx, unbroken):
    outcome = nlpx("finetune", "--resume", "whole", "--set", "train.steps=30")
    assert (outcome.code, outcome.out) == (0, "whole\n")
    assert tiny.metrics(unbroken)[-1]["step"] == 30
    assert "steps: 30\n" in (unbroken / "config.yaml").read_text(encoding="utf-8")
    assert "nothing is left to do" in nlpx("finetune", "--resume", "whole").err


def test_a_finished_run_has_nothing_left_to_do(nlpx, unbroken):
    before = {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file()}
    outcome = nlpx("finetune", "--resume", "last" if Path("runs/last").exists() else "whole")
    assert (outcome.code, outcome.out) == (0, "whole\n")
    assert outcome.err.startswith(
        "whole is finished, nothing is left to do; --set train.epochs=N or train.steps=N gives more\n"
    )
    assert {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file()} == before
    result = json.loads(nlpx("finetune", "--resume", "whole", "--json").out)
    assert result["run"] == "whole"
    assert result["score"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "optim.learning_rate=0.1"), "`optim.learning_rate` is 0.0005 in the run to resume and 0.1 here"),
        (("--seed", "8"), "`seed` is 7 in the run to resume and 8 here"),
        (("--data", "other.jsonl"), "`data.path` is rows.jsonl in the run to resume and other.jsonl here"),
    ],
)
@pytest.mark.usefixtures("unbroken")
def test_another_setting_is_refused_with_both_values(nlpx, words, message):
    outcome = nlpx("finetune", "--resume", "whole", *words)
    assert (outcome.code, outcome.out) == (2, "")
    error, hint = outcome.err.splitlines()
    assert error == f"Error: {message}"
    assert hint.startswith("  a resumed run may change only: train.steps, train.epochs,")


@pytest.mark.parametrize("words", [("--out", "x"), ("--overwrite",), ("--preset", "finetune/sohu")])
@pytest.mark.usefixtures("unbroken")
def test_options_that_contradict_resuming(nlpx, words):
    assert nlpx("finetune", "--resume", "whole", *words) == (
        2, "", f"Error: --resume and {words[0]} contradict each other\n  a run continues as it is, in its folder\n",
    )  # fmt: skip


@pytest.mark.usefixtures("unbroken")
def test_other_rows_are_refused(nlpx, tmp_path):
    tiny.write_rows(tmp_path / "rows.jsonl", tiny.rows(46))
    outcome = nlpx("finetune", "--resume", "whole", "--set", "train.steps=30")
    assert (outcome.code, outcome.out) == (3, "")
    assert "the checkpoint was made with other rows, batch limits or another seed" in outcome.err


def test_what_cannot_be_resumed(nlpx, unbroken):
    manifest = json.loads((unbroken / "manifest.json").read_text(encoding="utf-8"))
    alive = manifest | {"state": "running", "process": os.getpid()}
    (unbroken / "manifest.json").write_text(json.dumps(alive), encoding="utf-8")
    outcome = nlpx("finetune", "--resume", "whole")
    assert outcome == (
        2, "", f"Error: whole: still running, as process {os.getpid()}\n  wait for its end, or interrupt it first\n",
    )  # fmt: skip
    (unbroken / "manifest.json").write_text(json.dumps(manifest | {"state": "failed"}), encoding="utf-8")
    (unbroken / "checkpoints" / "last").rename("elsewhere")
    outcome = nlpx("finetune", "--resume", "whole")
    assert outcome == (
        3, "", "Error: whole: nothing to resume from, it ended before its first checkpoint\n"
        "  start it again: nlpx finetune --preset whole\n",
    )  # fmt: skip
    assert nlpx("finetune", "--resume", "none").code == 2


def test_damaged_state(nlpx, unbroken):
    file = unbroken / "checkpoints" / "last" / "training.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    outcome = nlpx("finetune", "--resume", "whole", "--set", "train.steps=30")
    assert (outcome.code, outcome.out) == (3, "")
    assert "whole/checkpoints/last: the saved state is damaged" in outcome.err
