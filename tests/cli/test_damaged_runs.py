"""Files of a run that something else has spoilt: exit code 3 and the place, never a bug; and a kill at the very end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import tiny
from nlpx_cli.__main__ import main

SMALL = tiny.settings(*tiny.SMALL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that ended well, made once."""
    folder = tmp_path_factory.mktemp("finished")
    data = tiny.write_rows(folder / "rows.jsonl", tiny.rows(48))
    assert main(["finetune", "--data", str(data), *SMALL, "--out", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "run")
    return Path("run")


RESUME = ("finetune", "--resume", "run", "--set", "train.epochs=9")
DAMAGE = [
    ("checkpoints/best/task.json", b"{}", ("predict", "run", os.devnull)),
    ("checkpoints/best/task.json", b"null", ("predict", "run", os.devnull)),
    ("checkpoints/best/task.json", b"{", ("predict", "run", os.devnull)),
    ("checkpoints/best/task.json", b"\xff\xfe", ("predict", "run", os.devnull)),
    ("checkpoints/last/training.json", b"[]", RESUME),
    ("checkpoints/last/training.json", b"null", RESUME),
    ("checkpoints/last/training.json", b'{"format": 1, "step": null}', RESUME),
    ("checkpoints/last/training.safetensors", b"short", RESUME),
    ("config.yaml", b"", ("runs", "report", "run")),
    ("config.yaml", b"\xff\xfe", ("runs", "report", "run")),
    ("config.yaml", b"task: [1]", ("runs", "report", "run")),
    ("metrics.jsonl", b"\xff\xfe\n", ("runs", "report", "run")),
    ("metrics.jsonl", b"[1]\n", ("runs", "report", "run")),
    ("metrics.jsonl", b'{"step": "one"}\n', ("runs", "report", "run")),
    ("manifest.json", b'{"state": "running", "process": "abc"}', ("runs", "show", "run")),
    ("manifest.json", b'{"start": "nonsense"}', ("runs", "show", "run")),
    ("manifest.json", b'{"primary_metric": {"name": "f1"}}', ("runs", "show", "run")),
    ("manifest.json", b"[" * 100_000, ("runs", "show", "run")),
    ("manifest.json", b'{"command_line": [1]}', ("runs", "show", "run")),
    ("manifest.json", b'{"presets": [{}]}', ("runs", "show", "run")),
    ("manifest.json", b'{"inputs": [{"path": 1}]}', ("runs", "show", "run")),
    ("manifest.json", b'{"git": {"commit": 5}}', ("runs", "report", "run")),
    ("manifest.json", b"[]", ("presets", "show", "run/config.yaml")),
    ("manifest.json", b"[" * 100_000, ("presets", "show", "run/config.yaml")),
    (
        "metrics.jsonl",
        b'{"step": 1, "split": "dev", "score": 1, "reliability": [{"bin": 1}]}\n',
        ("runs", "report", "run"),
    ),
    (
        "metrics.jsonl",
        b'{"step": 1, "split": "dev", "score": 1, "calibration_error": "x"}\n',
        ("runs", "report", "run"),
    ),
    ("metrics.jsonl", b'{"step": 1, "split": "dev", "score": 1, "thresholds": 5}\n', ("runs", "report", "run")),
    ("checkpoints/best/vocab.txt", "\n".join(map(chr, range(0x4E00, 0x5000))).encode(), ("predict", "run", os.devnull)),
]


@pytest.mark.parametrize(("file", "content", "words"), DAMAGE, ids=range(len(DAMAGE)))
def test_a_spoilt_file_is_named(nlpx, run, file, content, words):
    (run / file).write_bytes(content)
    outcome = nlpx(*words)
    assert outcome.code == 3, outcome.err
    assert "Error:" in outcome.err
    assert str(Path(file).parent) in outcome.err
    assert "bug" not in outcome.err


@pytest.mark.parametrize("key", ["task", "max_length", "state"])
def test_what_task_json_lacks_is_named(nlpx, run, key):
    file = run / "checkpoints" / "best" / "task.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings[key] = {"task": "sohu ", "max_length": "long", "state": {}}[key]
    file.write_text(json.dumps(settings), encoding="utf-8")
    outcome = nlpx("predict", "run", os.devnull)
    assert outcome.code in (2, 3), outcome.err
    assert key in outcome.err


@pytest.mark.parametrize("content", ["{", "[]", '{"headline": 5}', '{"start": "nonsense"}'])
def test_one_unreadable_manifest_does_not_hide_the_other_runs(nlpx, run, content):
    shutil.copytree(run, "other")
    Path("other/manifest.json").write_text(content, encoding="utf-8")
    outcome = nlpx("runs", "list", "--root", ".")
    assert outcome.code == 0
    assert [line.split()[:2] for line in outcome.out.splitlines()[1:]] == [["other", "unreadable"], ["run", "finished"]]
    assert "other/manifest.json" in outcome.err


def test_a_kill_in_the_last_phase_repeats_no_record(nlpx, run):
    def evaluations():
        return [record["step"] for record in tiny.metrics(run) if record["split"] == "dev"]

    before, manifest = evaluations(), json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    for _ in range(2):
        killed = manifest | {"state": "running", "process": 99999999, "end": None, "exit_code": None}
        (run / "manifest.json").write_text(json.dumps(killed), encoding="utf-8")
        assert nlpx("finetune", "--resume", "run", "--quiet").code == 0
        assert evaluations() == before


@pytest.mark.parametrize(
    ("labels", "what"), [(["天气"], "`state` has 1 classes, the model 3"), ("天气", "no list of classes")]
)
def test_classes_that_are_not_the_models_are_named(nlpx, tmp_path, monkeypatch, labels, what):
    monkeypatch.chdir(tmp_path)
    data = tiny.write_rows(tmp_path / "titles.jsonl", tiny.labelled(24))
    small = tiny.settings(*(setting for setting in tiny.SMALL if "condition_size" not in setting))
    words = ("finetune", "--task", "classify", "--data", str(data), *small, "--set", "model.new.vocab_size=200")
    assert nlpx(*words, "--out", "run", "--quiet").code == 0
    file = Path("run/checkpoints/best/task.json")
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["state"]["labels"] = labels
    file.write_text(json.dumps(settings), encoding="utf-8")
    outcome = nlpx("predict", "run", "titles.jsonl")
    assert (outcome.code, outcome.out) == (3, "")
    assert "task.json" in outcome.err
    assert what in outcome.err
