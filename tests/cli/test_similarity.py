"""`nlpx finetune --task similarity`: from a teacher's array to a model that `embed` takes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny

SMALL = tiny.settings(
    *[setting for setting in tiny.SMALL if not setting.startswith(("task_options", "train.batch_tokens"))],
    "model.new.vocab_size=200",  # room for the characters behind the letters
    "train.epochs=8",
    "train.batch_size=16",
    "optim.learning_rate=0.02",
)
SIMILARITY = ("finetune", "--task", "similarity")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def texts() -> list[str]:
    """Three hundred texts; their teacher counts characters, so that texts are near which share some."""
    rows = [row["text"] for row in tiny.labelled(300)]
    Path("texts.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    counts = np.array([[text.count(character) for character in tiny.CHARACTERS] for text in rows], dtype=np.float32)
    np.save("teacher.npy", counts)
    return rows


def test_a_student_learns_and_embeds_as_it_was_taught(nlpx, texts):
    words = (*SMALL, "--data", "texts.txt", "--teacher", "teacher.npy", "--out", "run")
    outcome = nlpx(*SIMILARITY, *words)
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert "300 texts of texts.txt" in outcome.err
    scores = [record["score"] for record in tiny.metrics(Path("run")) if record.get("split") == "dev"]
    assert max(scores) > 0.3  # a fresh model's cosines have nothing to do with the teacher's
    outcome = nlpx("embed", "texts.txt", "--model", "run", "-o", "vectors.npy")
    assert outcome.code == 0
    assert "pooling mean" in outcome.err  # what the checkpoint says of itself
    found = np.load("vectors.npy")
    assert found.shape == (300, 16)
    row = json.loads(nlpx("predict", "run", "texts.txt").out.splitlines()[0])
    assert row["text"] == texts[0]
    # Vectors of a window and of a batch of another shape differ by rounding, and by the number format of prediction.
    cosine = np.dot(row["vector"], found[0]) / np.linalg.norm(row["vector"]) / np.linalg.norm(found[0])
    assert cosine == pytest.approx(1, abs=1e-3)
    report = Path("run/report.md").read_text(encoding="utf-8")
    assert "Spearman with the teacher" in report


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        ((), 2, "similarity has no teacher", "--teacher VECTORS.npy"),
        (("--teacher", "short.npy"), 3, "short.npy has 59 rows and texts.txt 300 texts", "nlpx embed FILE"),
        (("--teacher", "texts.txt"), 3, "texts.txt", ""),
        (("--teacher", "nowhere.npy"), 3, "nowhere.npy", ""),
        (("--teacher", "teacher.npy", "--dev", "texts.txt"), 2, "belong to the texts of --data alone", "leave out"),
    ],
)
@pytest.mark.usefixtures("texts")
def test_what_cannot_teach_is_refused(nlpx, words, code, message, hint):
    np.save("short.npy", np.ones((59, 4), np.float32))
    outcome = nlpx(*SIMILARITY, *SMALL, "--data", "texts.txt", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert hint in outcome.err
    assert not Path("runs").exists()


@pytest.mark.usefixtures("texts")
def test_other_tasks_have_no_teacher(nlpx):
    outcome = nlpx("finetune", "--task", "classify", "--data", "texts.txt", "--teacher", "teacher.npy")
    assert outcome.code == 2
    assert "teacher" in outcome.err


def test_the_plain_ways_stand_beside_a_run(nlpx):
    tiny.write_rows(Path("train.jsonl"), tiny.labelled(60))
    tiny.write_rows(Path("dev.jsonl"), tiny.labelled(30, seed=3))
    tiny.write_rows(Path("test.jsonl"), tiny.labelled(30, seed=4))
    files = ("--data", "train.jsonl", "--dev", "dev.jsonl", "--test", "test.jsonl")
    small = tiny.settings(*[setting for setting in tiny.SMALL if "condition_size" not in setting])
    outcome = nlpx("finetune", "--task", "classify", *files, *small, "--out", "run", "--baseline", "--json")
    beside = json.loads(outcome.out)["baselines"]
    assert [row["model"] for row in beside] == ["this model", "always 动物", "TF-IDF, logistic regression"]
    model, constant, counted = beside
    records = tiny.metrics(Path("run"))
    assert model["test"] == [record["score"] for record in records if record.get("split") == "test"][-1]
    assert (constant["dev"], constant["test"]) == (1 / 3, 1 / 3)  # three classes in turn
    assert counted["test"] > 0.6  # most characters of a text are those of its class
    assert "## Beside the plain ways" in Path("run/report.md").read_text(encoding="utf-8")
    plain = nlpx("finetune", "--task", "classify", *files, *small, "--out", "other", "--json")
    assert "baselines" not in json.loads(plain.out)


def test_towers_train_and_predict(nlpx):
    data = str(tiny.write_rows(Path("rows.jsonl"), tiny.rows(48)))
    words = (*tiny.settings(*tiny.SMALL, "task_options.pair=towers"), "--out", "run")
    outcome = nlpx("finetune", "--data", data, *words)
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert "pairs: each text is read by itself (towers)" in outcome.err
    answers = [json.loads(line) for line in nlpx("predict", "run", data).out.splitlines()]
    assert len(answers) == 48
    assert all(0 <= row["probability"] <= 1 for row in answers)
    outcome = nlpx("convert", "run", "elsewhere", "--to", "hf")
    assert outcome.code == 3
    assert "no counterpart in transformers" in outcome.err
