"""`nlpx compare` as it is called: a grid is run, skipped, gone on with, and refused before its first run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny

SMALL = tiny.settings(
    *[setting for setting in tiny.SMALL if "condition_size" not in setting],
    "model.new.vocab_size=200",
    "train.epochs=null",
    "train.steps=4",
)
COMPARE = ("compare", "--task", "classify", "--data", "titles.jsonl", *SMALL, "--out", "grid")


@pytest.fixture(autouse=True)
def _in_a_folder_with_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.write_rows(tmp_path / "titles.jsonl", tiny.labelled(90))


def test_it_compares_skips_and_goes_on(nlpx):
    words = (*COMPARE, "--grid", "optim.learning_rate=1e-4,0.05", "--seeds", "2", "--json")
    outcome = nlpx(*words)
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    slow, fast = found["columns"]
    assert (slow["name"], found["seeds"], found["split"]) == ("optim.learning_rate=1e-4", [7, 8], "dev")
    assert slow["seconds_ratio"] == slow["memory_ratio"] == 1
    folders = [f"optim.learning_rate={rate}-{seed}" for rate in ("1e-4", "0.05") for seed in (7, 8)]
    manifests = {name: json.loads(Path("grid", name, "manifest.json").read_text()) for name in folders}
    assert {manifest["state"] for manifest in manifests.values()} == {"finished"}
    assert slow["scores"] == [manifests[name]["primary_metric"]["value"] for name in folders[:2]]
    assert fast["difference"]["mean"] == pytest.approx(fast["mean"] - slow["mean"])
    assert "device cpu" in Path("grid", folders[0], "log.txt").read_text()
    page = Path("grid/report.html").read_text(encoding="utf-8")
    assert fast["sentence"] in page
    assert "<svg" in page
    assert "http" not in page

    # One run as a kill leaves it: it goes on from its checkpoint, the others stay as they are.
    manifest = Path("grid", folders[3], "manifest.json")
    manifest.write_text(json.dumps(manifests[folders[3]] | {"state": "interrupted"}))
    outcome = nlpx(*[word for word in words if word != "--json"])
    assert "3 of 4 runs are done already" in outcome.err
    again = json.loads(Path("grid/comparison.json").read_text(encoding="utf-8"))
    assert [column["scores"] for column in again["columns"]] == [column["scores"] for column in found["columns"]]
    assert len(json.loads(manifest.read_text())["resumed"]) == 1

    # What is there belongs to other rows now, and is not taken for a result on these.
    tiny.write_rows(Path("titles.jsonl"), tiny.labelled(60))
    outcome = nlpx(*words)
    assert outcome.code == 2
    assert "holds a run of other rows" in outcome.err


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ("tricks=none,emma", "--grid tricks=[emma]: unknown trick `emma`"),
        ("trick=none,ema", "--grid trick=none: unknown key `trick`"),
        ("tricks=none", "a grid of one column compares nothing"),
        ("tricks", "--grid tricks: not of the form KEY=VALUE,VALUE"),
        ("tricks=none,,ema", "--grid tricks=none,,ema: a value is empty or given twice"),
        ("seed=1,2", "--grid seed=1,2: `seed` cannot vary"),
        ("train.steps=4,4.0", "are the same configuration"),
        ("tricks=none,teaforn", "the trick `teaforn` reads"),
        ("loss=cross_entropy,distillation", "the loss `distillation` does not fit the task classify"),
    ],
)
def test_a_wrong_grid_is_refused_before_the_first_run(nlpx, grid, sentence):
    outcome = nlpx(*COMPARE, "--grid", grid)
    assert (outcome.code, outcome.out) == (2, "")
    assert sentence in outcome.err
    assert not Path("grid").exists()


def test_the_plan_names_every_run(nlpx):
    outcome = nlpx(*COMPARE, "--grid", "tricks=none,ema+r_drop", "--grid", "train.steps=2,4", "--dry-run")
    lines = outcome.out.splitlines()
    assert (outcome.code, len(lines)) == (0, 20)
    assert lines[1] == str(Path("grid", "tricks=none_train.steps=4-7"))
    assert not Path("grid").exists()


def test_stdin_cannot_be_read_by_every_run(nlpx):
    outcome = nlpx("compare", "--task", "classify", "--data", "-", "--grid", "tricks=none,ema")
    assert outcome.code == 2
    assert "stdin can be read once" in outcome.err
