"""`nlpx runs` on folders made by the test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nlpx.runs.folder import RunFolder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunFolder]:
    monkeypatch.chdir(tmp_path)
    folders = []
    for name, score in (("first", 0.5), ("second", float("nan"))):
        with RunFolder.create(command="finetune", name=name, config_yaml="task: sohu\n", seed=7, device="cpu") as run:
            run.set_primary_metric("f1", score)
            run.metrics({"step": 1, "split": "train", "loss": 0.7})
        folders.append(run)
    return folders


def test_list(nlpx, runs):
    outcome = nlpx("runs", "list")
    assert (outcome.code, outcome.err) == (0, "")
    head, first, second = outcome.out.splitlines()
    assert head.split() == ["run", "state", "score", "start", "took"]
    assert first.split()[:4] == [runs[0].path.name, "finished", "f1", "0.5000"]
    assert second.split()[:4] == [runs[1].path.name, "finished", "f1", "-"]
    rows = [json.loads(line) for line in nlpx("runs", "list", "--json").out.splitlines()]
    assert [row["score"] for row in rows] == [{"name": "f1", "value": 0.5}, {"name": "f1", "value": None}]
    assert nlpx("runs", "list", "--quiet").out.splitlines() == [run.path.name for run in runs]


def test_list_of_nothing(nlpx, tmp_path):
    assert nlpx("runs", "list", "--root", str(tmp_path / "none")) == (0, "", "")


def test_show(nlpx, runs):
    outcome = nlpx("runs", "show")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"run: {runs[1].path}\nstate: finished\nexit code: 0\nscore: f1 -\n" in outcome.out
    manifest = json.loads(nlpx("runs", "show", runs[0].path.name, "--json").out)
    assert manifest["primary_metric"] == {"name": "f1", "value": 0.5}


def test_report(nlpx, runs):
    outcome = nlpx("runs", "report", str(runs[0].path))
    assert outcome.code == 0, outcome.err
    assert outcome == (0, f"{runs[0].path / 'report.md'}\n", "")
    assert runs[0].report.read_text(encoding="utf-8").startswith("#")


def test_wrong_runs(nlpx, runs, tmp_path):
    close = runs[0].path.name[:-1]
    outcome = nlpx("runs", "show", close)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"Error: no run at {close}\n  did you mean `")
    (tmp_path / "other").mkdir()
    outcome = nlpx("runs", "show", "other")
    assert outcome == (3, "", "Error: other: not a run folder: no manifest.json\n  `nlpx runs list` shows the runs\n")
    outcome = nlpx("runs", "show", "last", "--root", str(tmp_path / "none"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Error: no last run")
