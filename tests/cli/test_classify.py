"""`nlpx finetune --task classify` and `nlpx predict` behind it, on tiny rows and models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny

SMALL = tiny.settings(
    *[setting for setting in tiny.SMALL if "condition_size" not in setting],
    "model.new.vocab_size=200",  # room for the characters behind the letters
    "optim.learning_rate=0.02",
)
CLASSIFY = ("finetune", "--task", "classify")
LABELS = ("天气", "动物", "方位")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path) -> str:
    return str(tiny.write_rows(tmp_path / "titles.jsonl", tiny.labelled(90)))


def answers(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_it_learns_and_predicts(nlpx, data):
    words = (*SMALL, *tiny.settings("train.epochs=6"), "--out", "run", "--require", "0.8")
    outcome = nlpx(*CLASSIFY, "--data", data, *words)
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert "chosen by a hash of the text, serve as dev" in outcome.err
    assert "mean of the labels" in outcome.err
    given = tiny.labelled(30, seed=5)
    tiny.write_rows(Path("new.jsonl"), [{"text": row["text"]} for row in given])
    outcome = nlpx("predict", "run", "new.jsonl")
    found = answers(outcome.out)
    assert (outcome.code, outcome.err, len(found)) == (0, "", 30)
    assert all(set(row) == {"text", "label", "probability"} for row in found)
    assert all(1 / 3 <= row["probability"] <= 1 for row in found)
    right = [row["label"] == wanted["label"] for row, wanted in zip(found, given, strict=True)]
    assert sum(right) > 20


def test_mistakes_are_kept_the_surest_first(nlpx, data):
    assert nlpx(*CLASSIFY, "--data", data, *SMALL, *tiny.settings("optim.learning_rate=1e-4"), "--out", "run").code == 0
    predicted = answers(Path("run/predictions/dev.jsonl").read_text(encoding="utf-8"))
    mistakes = answers(Path("run/predictions/errors.jsonl").read_text(encoding="utf-8"))
    wrong = [row for row in predicted if row["label"] != row["given_label"]]
    assert mistakes == sorted(wrong, key=lambda row: -row["probability"])
    assert 0 < len(mistakes) < len(predicted)


def test_the_report_speaks_of_classes(nlpx, data):
    outcome = nlpx(*CLASSIFY, "--data", data, *SMALL, "--out", "run", "--json")
    table = json.loads(outcome.out)["table"]
    assert [row["label"] for row in table] == [*sorted(LABELS), "mean by rows", "mean of the labels"]
    report = Path("run/report.md").read_text(encoding="utf-8")
    assert report.startswith(f"# finetune classify: score {table[-1]['accuracy']:.4f} on dev (accuracy), step ")
    assert "| label              |     F1 | precision | recall | accuracy | rows |" in report
    assert "share of right answers" in report
    for word in ("variant", "pair", "A counts", "match", "ssA", "positives"):
        assert word not in report, word
    manifest = json.loads(Path("run/manifest.json").read_text(encoding="utf-8"))
    assert (manifest["name"], manifest["primary_metric"]["name"]) == ("classify", "accuracy")
    evaluated = [record for record in tiny.metrics(Path("run")) if record["split"] == "dev"]
    assert table[-1]["f1"] in [record["macro_f1"] for record in evaluated]


def test_rows_without_a_file(nlpx):
    outcome = nlpx(*CLASSIFY)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-2:] == [
        "Error: no rows: no sample ships for the task classify",
        '  --data FILE names a file of rows such as {"text": "...", "label": "..."}, or `text1` and `text2` for pairs',
    ]
    assert not Path("runs").exists()


def test_numbers_pairs_and_given_splits(nlpx):
    """CSV with whole numbers as labels, a pair of texts in fields of other names, a test part."""
    rows = [f"{row['text']},{row['text'][::-1]},{number % 2},{'test' if number > 50 else 'dev' if number > 40 else ''}"
            for number, row in enumerate(tiny.labelled(60))]  # fmt: skip
    tiny.write_rows(Path("pairs.csv"), ["one,two,same,split", *rows])
    fields = tiny.settings(
        "task_options.text_field=one", "task_options.second_field=two", "task_options.label_field=same"
    )
    outcome = nlpx(*CLASSIFY, "--data", "pairs.csv", *SMALL, *fields, "--out", "run")
    assert (outcome.code, outcome.out) == (0, "run\n")
    assert "test score" in outcome.err
    assert "serve as dev" not in outcome.err
    tested = answers(Path("run/predictions/test.jsonl").read_text(encoding="utf-8"))
    assert len(tested) == 9
    assert all(row["label"] in ("0", "1") for row in tested)
    assert all(set(row) == {"one", "two", "same", "split", "label", "probability"} for row in tested)
    tiny.write_rows(Path("new.csv"), ["one,two", "春,夏"])
    assert nlpx("predict", "run", "new.csv").out.startswith('{"one": "春", "two": "夏", "label": "')
    tiny.write_rows(Path("wrong.csv"), ["one,three", "春,夏"])
    outcome = nlpx("predict", "run", "wrong.csv")
    assert (outcome.code, outcome.err.splitlines()[-1]) == (3, "  its fields: one, three")


def test_labels_that_training_lacks_are_named_and_count_as_wrong(nlpx):
    rows = tiny.labelled(60, labels=(1, 2))
    dev = [row | {"split": "dev", "label": 3} for row in tiny.labelled(4, seed=1)]
    tiny.write_rows(Path("rows.jsonl"), [*rows, *dev])
    outcome = nlpx(*CLASSIFY, "--data", "rows.jsonl", *SMALL, "--out", "run")
    assert outcome.code == 0
    assert "4 dev rows have a label that no training row has, and count as wrong: 3 (4)\n" in outcome.err
    assert "best dev score 0.0000" in outcome.err
    kept = answers(Path("run/predictions/dev.jsonl").read_text(encoding="utf-8"))
    assert [row["given_label"] for row in kept] == [3] * 4
    assert {row["label"] for row in kept} <= {1, 2}


def test_rows_of_one_class(nlpx):
    tiny.write_rows(Path("ones.jsonl"), [{"text": f"春{number}", "label": "甲"} for number in range(20)])
    outcome = nlpx(*CLASSIFY, "--data", "ones.jsonl", *SMALL)
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.splitlines()[-2:] == [
        "Error: ones.jsonl: all 20 training rows have label 甲",
        "  a classifier needs rows of two classes at least; were the rows sorted and split?",
    ]


@pytest.mark.parametrize(
    ("model", "preset", "start"),
    [
        (None, "classify-tiny", "char-tiny"),
        ("word-tiny", "classify-tiny", "word-tiny"),
        ("new", "classify-new", "new"),
        ("bert", "classify-tiny", "bert"),
    ],
)
def test_the_preset_follows_the_model(nlpx, data, model, preset, start):
    tiny.bert(Path("bert"))
    words = () if model is None else ("--model", model)
    outcome = nlpx(*CLASSIFY, "--data", data, *words, "--set", "data.max_length=24", "--dry-run")
    assert outcome.code == 0
    assert f"preset finetune/{preset}\n" in outcome.err
    shown = json.loads(nlpx("presets", "show", f"finetune/{preset}", "--json").out)["config"]
    assert (shown["task"], shown["data"]["max_length"]) == ("classify", 128)
    assert model is not None or shown["model"]["name"] == start


def test_an_encoder_of_transformers(nlpx, data):
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    tiny.checkpoint(Path("other"), "DistilBertConfig", "DistilBertModel", **sizes)
    words = tiny.settings("train.epochs=1", "data.max_length=16")
    assert nlpx(*CLASSIFY, "--data", data, "--model", "other", *words, "--out", "run").code == 0
    assert {row["label"] for row in answers(nlpx("predict", "run", data).out)} <= set(LABELS)


def test_a_finished_classifier_is_a_start_for_other_classes(nlpx, data):
    assert nlpx(*CLASSIFY, "--data", data, *SMALL, "--out", "first").code == 0
    tiny.write_rows(Path("five.jsonl"), tiny.labelled(60, labels=range(5)))
    words = tiny.settings("train.epochs=1", "data.max_length=24")
    outcome = nlpx(*CLASSIFY, "--data", "five.jsonl", "--model", "first/checkpoints/best", *words, "--out", "second")
    assert outcome.code == 0
    assert {row["label"] for row in answers(nlpx("predict", "second", data).out)} <= set(range(5))


def test_a_resumed_run_is_the_unbroken_one(nlpx, data):
    words = (*SMALL, *tiny.settings("optim.schedule.decay=constant"))
    assert nlpx(*CLASSIFY, "--data", data, *words, "--set", "train.epochs=2", "--out", "whole").code == 0
    assert nlpx(*CLASSIFY, "--data", data, *words, "--set", "train.epochs=1", "--out", "parts").code == 0
    assert nlpx("finetune", "--resume", "parts", "--set", "train.epochs=2").code == 0
    whole, parts = (Path(name, "checkpoints/last/model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_the_other_tasks_options_are_refused(nlpx, data):
    outcome = nlpx(*CLASSIFY, "--data", data, "--set", "task_options.condition_size=4")
    assert (outcome.code, outcome.out) == (2, "")
    assert "condition_size" in outcome.err
    outcome = nlpx(*CLASSIFY, "--data", data, "--set", "task_options.second_field=two")
    assert (outcome.code, outcome.out) == (2, "")
    assert "`second_field` needs `text_field` beside it" in outcome.err
