"""`nlpx finetune --task seq2seq` and `nlpx predict` behind it, on tiny rows and models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny

SMALL = tiny.settings(
    "model.name=new",
    "model.new={hidden_size: 32, num_layers: 2, num_attention_heads: 2, intermediate_size: 64, hidden_dropout: 0, "
    "attention_dropout: 0, choices: {initializer_range: 0.1}}",
    "data.max_length=24",
    "task_options.max_target_length=6",
    "train.batch_tokens=400",
    "train.log_every=20",
    "tricks={}",
)
SEQ2SEQ = ("finetune", "--task", "seq2seq")
PAIRS = [
    {"source": "春天的风从南方来", "target": "春风"},
    {"source": "夏天常有雷雨", "target": "夏雨"},
    {"source": "秋天月亮很圆", "target": "秋月"},
    {"source": "冬天的山上有雪", "target": "冬雪"},
    {"source": "湖里有很多鱼", "target": "湖鱼"},
    {"source": "海上的星星很亮", "target": "海星"},
    {"source": "花草都长得很高", "target": "花草"},
    {"source": "东边有鸟，西边有云", "target": "鸟云"},
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data() -> str:
    return str(tiny.write_rows(Path("pairs.jsonl"), PAIRS))


def answers(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("options", [(), ("task_options.arrangement=causal", "loss=sparse_softmax")])
def test_it_learns_a_few_pairs_by_heart(nlpx, data, options):
    words = (*SMALL, *tiny.settings("optim.learning_rate=0.01", "train.eval_every=60", "task_options.num_beams=2"))
    outcome = nlpx(*SEQ2SEQ, "--data", data, "--dev", data, *words, *tiny.settings(*options), "--steps", "60",
                   "--out", "run", "--baseline", "--require", "0.99")  # fmt: skip
    assert (outcome.code, outcome.out) == (0, "run\n"), outcome.err
    assert "8 of 8 dev rows have the source of a training row: their score flatters\n" in outcome.err
    assert "春天的风从南方来 → 春风 (wanted: 春风)\n" in outcome.err
    assert "春天的风从南方来 → 春风 (wanted: 春风)\n" in Path("run/log.txt").read_text(encoding="utf-8")
    report = Path("run/report.md").read_text(encoding="utf-8")
    assert "score 1.0000 on dev (0.2 ROUGE-1 + 0.4 ROUGE-2 + 0.4 ROUGE-L, by characters)" in report
    assert "F of ROUGE, n-grams as sets" in report
    assert "| the first 2 characters |" in report
    outcome = nlpx("predict", "run", data)
    assert outcome.code == 0
    assert [row["generated"] for row in answers(outcome.out)] == [row["target"] for row in PAIRS]
    assert [row["target"] for row in answers(outcome.out)] == [row["target"] for row in PAIRS]
    Path("lines.txt").write_text("夏天常有雷雨\n湖里有很多鱼\n", encoding="utf-8")
    outcome = nlpx("predict", "run", "lines.txt", "--columns", "generated")
    assert answers(outcome.out) == [{"generated": "夏雨"}, {"generated": "湖鱼"}]
    tiny.write_rows(Path("other.jsonl"), [{"body": "湖里有很多鱼"}])
    outcome = nlpx("predict", "run", "other.jsonl", "--field", "body", "--columns", "generated")
    assert answers(outcome.out) == [{"generated": "湖鱼"}]
    assert (
        nlpx("predict", "run", "other.jsonl").err.splitlines()[-1]
        == "  its fields: body; --field names others, that of the source first"
    )


def test_fields_of_other_names(nlpx):
    rows = [{"body": row["source"], "title": row["target"]} for row in PAIRS]
    tiny.write_rows(Path("rows.jsonl"), rows)
    fields = ("--field", "body", "--field", "title")
    outcome = nlpx(*SEQ2SEQ, "--data", "rows.jsonl", *SMALL, *fields, "--dry-run", "--json")
    assert (outcome.code, json.loads(outcome.out)["rows"]["test"]) == (0, 0)


def test_what_is_cut_is_said(nlpx, data):
    cut = tiny.settings("task_options.max_source_length=6", "task_options.max_target_length=1")
    outcome = nlpx(*SEQ2SEQ, "--data", data, *SMALL, *cut, "--steps", "1", "--out", "run")
    assert outcome.code == 0
    # What asks the run has its lengths: sources of 6 tokens, targets of one and the end.
    asked = nlpx("generate", "run", data, "--field", "source", "--json", "--explain")
    assert "5 of 8 texts cut to 6 tokens, the longest of the run's training" in asked.err
    assert all(len(row["hypotheses"][0]["tokens"]) <= 2 for row in answers(asked.out))  # type: ignore[index]
    asked = nlpx("generate", "run", data, "--field", "source", "--min-new-tokens", "9")
    assert asked.code == 2
    assert "--min-new-tokens 9 is above --max-new-tokens 2" in asked.err
    assert "sources are longer than 6 tokens and lose their end\n" in outcome.err
    assert "targets are longer than 1 tokens and lose their end\n" in outcome.err
    assert "by characters" in outcome.err


def test_lengths_that_cannot_be_met_are_refused_before_the_run(nlpx, data):
    outcome = nlpx(*SEQ2SEQ, "--data", data, *SMALL, "--max-length", "9", "--out", "run")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-2:] == [
        "Error: data.max_length 9 has no room for 1 tokens of a source, 6 of a target and 3 special ones",
        "  --set task_options.max_target_length=N makes targets shorter, --max-length N rows longer",
    ]
    assert not Path("run").exists()


def test_rows_without_a_target_are_refused(nlpx):
    tiny.write_rows(Path("rows.jsonl"), [{"text": "春天", "summary": "春"}])
    outcome = nlpx(*SEQ2SEQ, "--data", "rows.jsonl", *SMALL)
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.splitlines()[-1] == (
        "  its fields: text, summary; --field names others, that of the source first"
    )


def test_a_model_that_ships_is_the_default(nlpx, data):
    outcome = nlpx(*SEQ2SEQ, "--data", data, "--dry-run", "--json")
    assert (outcome.code, json.loads(outcome.out)["longest_row"]) == (0, 14)


@pytest.mark.parametrize("loss", ["null", "sparse_softmax"])
def test_tricks_read_logits_and_states(nlpx, data, loss):
    tricks = tiny.settings("tricks={r_drop: {alpha: 1}, teaforn: {passes: 2, feedback: expected}}", f"loss={loss}")
    outcome = nlpx(*SEQ2SEQ, "--data", data, *SMALL, *tricks, "--steps", "2", "--out", "run")
    assert (outcome.code, outcome.out) == (0, "run\n"), outcome.err
    outcome = nlpx("finetune", "--resume", "run", "--steps", "3")
    assert (outcome.code, outcome.out) == (0, "run\n"), outcome.err


def test_a_classifier_feeds_nothing_back(nlpx):
    rows = str(tiny.write_rows(Path("titles.jsonl"), tiny.labelled(30)))
    new = tiny.settings("model.name=new", "tricks={teaforn: {}}")
    outcome = nlpx("finetune", "--task", "classify", "--data", rows, *new)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-2:] == [
        "Error: the trick `teaforn` reads `states`, which the task classify does not give",
        "  it gives: logits; leave the trick out",
    ]
    small = tiny.settings(*[setting for setting in tiny.SMALL if "condition_size" not in setting])
    outcome = nlpx("finetune", "--task", "classify", "--data", rows, *small, "--out", "run",
                   "--set", "tricks={r_drop: {alpha: 4}}")  # fmt: skip
    assert (outcome.code, outcome.out) == (0, "run\n"), outcome.err
