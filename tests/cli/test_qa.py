"""`nlpx finetune --task qa` and `nlpx predict` behind it, on tiny rows and models."""

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
    "data.max_length=40",
    "task_options.max_question_length=8",
    "task_options.max_answer_length=4",
    "train.batch_tokens=600",
    "train.log_every=20",
    "tricks={}",
)
QA = ("finetune", "--task", "qa")
NOTHING = {"passage": "山上有雪，海里有鱼", "answer": ""}
QUESTIONS = [
    {"id": "1", "question": "谁从南方来", "passages": [{"passage": "燕子 从南方来", "answer": "燕子"}, NOTHING]},
    {"id": "2", "question": "花在哪里", "passages": [NOTHING, {"passage": "花在山上", "answer": "山上"}]},
    {"id": "3", "question": "月亮圆吗", "passages": [{"passage": "秋天月亮很圆", "answer": "很圆"}]},
    {"id": "4", "question": "谁会唱歌", "passages": [NOTHING]},
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


def answers(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_it_learns_a_few_answers_by_heart(nlpx):
    data = str(tiny.write_rows(Path("questions.jsonl"), QUESTIONS))
    words = (*SMALL, *tiny.settings("optim.learning_rate=0.01", "train.eval_every=100"))
    outcome = nlpx(*QA, "--data", data, "--dev", data, *words, "--steps", "100", "--out", "run", "--baseline",
                   "--require", "0.99")  # fmt: skip
    assert (outcome.code, outcome.out) == (0, "run\n"), outcome.err
    assert "4 of 4 dev questions have the passage of a training row: their score flatters\n" in outcome.err
    assert "谁从南方来 → 燕子 (wanted: 燕子)\n" in outcome.err
    report = Path("run/report.md").read_text(encoding="utf-8")
    assert "(mean of accuracy and character F1)" in report
    assert "| CMRC 2018 " in report
    assert "| the nearest sentence by TF-IDF |" in report
    outcome = nlpx("predict", "run", data)
    found = answers(outcome.out)
    assert [row["generated"] for row in found] == ["燕子", "山上", "很圆", ""]
    assert [row["passages_used"] for row in found] == [[0], [1], [0], []]
    asked = {"question": "谁从南方来", "context": "燕子 从南方来"}
    tiny.write_rows(Path("new.jsonl"), [asked, {**asked, "context": NOTHING["passage"]}])
    outcome = nlpx("predict", "run", "new.jsonl", "--columns", "question,generated", "--format", "tsv")
    assert outcome.out.splitlines() == ["question\tgenerated", "谁从南方来\t燕子", "谁从南方来\t"], outcome.err
    outcome = nlpx("generate", "run", data, "--task", "qa")
    assert (outcome.code, outcome.out) == (0, "燕子\n山上\n很圆\n\n"), outcome.err
    assert [row["generated"] for row in answers(nlpx("generate", "run", data, "--task", "qa", "--json").out)] == [
        "燕子", "山上", "很圆", ""]  # fmt: skip
    outcome = nlpx("generate", "run", data)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1] == "  --task qa reads questions with their passages"
    outcome = nlpx("generate", "run", data, "--task", "qa", "--beams", "2")
    assert outcome.code == 2
    assert "answers rows as its run was trained" in outcome.err


def test_rows_of_no_known_layout(nlpx):
    tiny.write_rows(Path("rows.jsonl"), [{"question": "谁", "text": "春"}])
    outcome = nlpx(*QA, "--data", "rows.jsonl", *SMALL)
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.splitlines()[-1] == (
        "  a row has `question` and `passages`, or `question`, `context` and `answers`"
    )
