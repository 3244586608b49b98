"""`nlpx finetune --task classify --multi-label`: rows with several labels, as a user has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tiny

SMALL = tiny.settings(
    *[setting for setting in tiny.SMALL if "condition_size" not in setting],
    "model.new.vocab_size=200",
    "optim.learning_rate=0.02",
)
CLASSIFY = ("finetune", "--task", "classify", "--multi-label", "--out", "run", *SMALL)
NAMES = ("春", "山", "鱼")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Texts with the labels whose character occurs in them; some have none."""
    made = [row["source"] for row in tiny.rows(count, seed=seed)]
    texts = ["".join(character for character in text if character not in NAMES) for text in made]
    chosen = [[name for place, name in enumerate(NAMES) if number >> place & 1] for number in range(count)]
    return [{"text": "".join(labels) * 2 + text, "label": labels} for text, labels in zip(texts, chosen, strict=True)]


def test_it_learns_and_predicts_sets(nlpx):
    tiny.write_rows(Path("rows.jsonl"), rows(160))
    outcome = nlpx(*CLASSIFY, "--data", "rows.jsonl", *tiny.settings("train.epochs=8"), "--require", "0.8")
    assert outcome.code == 0, outcome.err
    report = Path("run/report.md").read_text(encoding="utf-8")
    assert "(micro F1)" in report
    assert "The whole set of labels is right in" in report
    given = rows(24, seed=3)
    tiny.write_rows(Path("new.jsonl"), [{"text": row["text"]} for row in given])
    outcome = nlpx("predict", "run", "new.jsonl", "--probabilities")
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert (outcome.code, outcome.err, len(found)) == (0, "", 24)
    for row in found:
        assert sorted(row["probabilities"]) == sorted(NAMES)
        likely = {name: value for name, value in row["probabilities"].items() if value >= 0.5}
        assert dict(zip(row["label"], row["probability"], strict=True)) == likely
        assert row["probability"] == sorted(row["probability"], reverse=True)
    right = sum(set(row["label"]) == set(wanted["label"]) for row, wanted in zip(found, given, strict=True))
    assert right > 12


def test_a_separator_is_named(nlpx):
    lines = [{"text": row["text"], "label": "|".join(row["label"])} for row in rows(80) if row["label"]]
    tiny.write_rows(Path("rows.jsonl"), lines)
    outcome = nlpx(*CLASSIFY, "--data", "rows.jsonl", "--label-separator", "|")
    assert outcome.code == 0, outcome.err
    assert "3 classes in the training rows" in outcome.err


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("春|山", "is the text '春|山', and nothing says what separates labels in it"),
        (3, "field `label` is 3, expected labels"),
        ([["春"]], "field `label` holds ['春'], expected texts or whole numbers"),
        (None, "lacks labels in `label`"),
    ],
)
def test_a_cell_in_the_wrong_form_is_refused(nlpx, label, sentence):
    tiny.write_rows(Path("rows.jsonl"), [*rows(8), {"text": "风雨", "label": label}])
    outcome = nlpx(*CLASSIFY, "--data", "rows.jsonl")
    assert outcome.code == 3
    assert "rows.jsonl:9" in outcome.err
    assert sentence in outcome.err
    assert "--label-separator" in outcome.err or "expected texts" in sentence


def test_an_empty_label_between_separators_is_refused(nlpx):
    tiny.write_rows(Path("rows.jsonl"), [{"text": "春山", "label": "春||山"}])
    outcome = nlpx(*CLASSIFY, "--data", "rows.jsonl", "--label-separator", "|")
    assert (outcome.code, "has an empty label between its separators" in outcome.err) == (3, True)


def test_a_list_is_no_class_without_the_option(nlpx):
    tiny.write_rows(Path("rows.jsonl"), rows(8))
    outcome = nlpx("finetune", "--task", "classify", "--data", "rows.jsonl", *SMALL)
    assert (outcome.code, "--multi-label reads several labels of a row" in outcome.err) == (3, True)


def test_a_trick_and_a_loss_of_single_classes_are_refused(nlpx):
    tiny.write_rows(Path("rows.jsonl"), rows(40))
    outcome = nlpx(*CLASSIFY, "--data", "rows.jsonl", *tiny.settings("tricks=[r_drop]"))
    assert (outcome.code, "divergence=bernoulli compares the probability of each label" in outcome.err) == (2, True)
    outcome = nlpx(*CLASSIFY, "--data", "rows.jsonl", *tiny.settings("loss=cross_entropy"))
    assert (outcome.code, "losses that fit: binary_cross_entropy" in outcome.err) == (2, True)
