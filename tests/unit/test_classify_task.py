"""The classification task: what a batch holds, where its classes come from, what is predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

import tiny
from nlpx.data.rows.labelled import Label, Labelled
from nlpx.data.rows.reading import RowReport
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
from nlpx.runs.objective import task_objective
from nlpx.tasks.classify import Config, Prediction, Task
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary

TEXTS = ["春风又绿江南岸", "明月何时照我还", "一江春水"]
TOKENIZER = CharTokenizer(character_vocabulary(TEXTS))


def row(text: str, label: Label | None, second: str | None = None, /, **values: Any) -> Labelled:
    return Labelled(text, second, label, place="test:1", split=None, row={"text": text} | values)


def trained(tmp_path: Path, *rows: Any, **options: Any) -> Task:
    task = Task(Config(**options))
    task.read(
        str(tiny.write_rows(tmp_path / "rows.jsonl", rows)), encoding="utf-8", on_bad_row="fail", report=RowReport()
    )
    return task


@pytest.fixture
def task(tmp_path: Path) -> Task:
    labels = ["诗", 2, "词"]
    rows = [{"text": text, "label": label, "split": "train"} for text, label in zip(TEXTS, labels, strict=True)]
    return trained(tmp_path, *rows, rows[0] | {"split": "dev"})


def test_the_classes_are_the_labels_of_the_training_rows(task: Task) -> None:
    assert task.labels == [2, "词", "诗"]
    parts = task.model_parts()
    assert (parts["num_labels"], parts["labels"]) == (3, ("2", "词", "诗"))  # which name the logits of the model too
    rows = [row(TEXTS[0], "诗"), row(TEXTS[1], "诗"), row(TEXTS[2], 2), row(TEXTS[2], "2")]
    assert task.label_counts(rows) == [2, 0, 2]


def test_a_batch_of_single_texts(task: Task) -> None:
    rows = [row(TEXTS[0], "诗"), row(TEXTS[2], 2), row(TEXTS[2], "新"), row(TEXTS[2], None)]
    batch = task.collate(task.encode(rows, TOKENIZER, 64), [1, 0, 2, 3], TOKENIZER.pad_token_id or 0)
    assert batch["token_ids"].shape == (4, 9)
    assert batch["token_ids"][0].tolist() == [*TOKENIZER.encode(TEXTS[2]).token_ids, 0, 0, 0]
    assert batch["attention_mask"].sum(1).tolist() == [6, 9, 6, 6]
    assert not batch["segment_ids"].any()
    assert batch["labels"].tolist() == [0, 2, -1, -1]
    assert batch["num_targets"] == 4
    assert len(task.encode(rows, TOKENIZER, 5).items[0].token_ids) == 5


def test_a_batch_of_pairs(task: Task) -> None:
    rows = [row(TEXTS[2], 2, TEXTS[0]), row(TEXTS[2], 2, TEXTS[2])]
    batch = task.collate(task.encode(rows, TOKENIZER, 64), [0, 1], 0)
    for number, given in enumerate(rows):
        encoding = TOKENIZER.encode(given.text, given.second)
        length = len(encoding.token_ids)
        assert batch["token_ids"][number, :length].tolist() == encoding.token_ids
        assert batch["segment_ids"][number, :length].tolist() == encoding.segment_ids
        assert not batch["segment_ids"][number, length:].any()
    assert list(task.texts(rows)) == [TEXTS[2], TEXTS[0], TEXTS[2], TEXTS[2]]


def test_objective_is_the_mean_cross_entropy_and_answers_are_the_likeliest_classes(task: Task) -> None:
    values: dict[str, Any] = {
        "vocab_size": TOKENIZER.vocab_size,
        "hidden_size": 16,
        "num_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "initializer_range": 0.5,
    }
    torch.manual_seed(3)
    model = Transformer(ModelConfig(**(values | {"heads": task.heads} | task.model_parts()))).eval()
    rows = [row(TEXTS[0], "诗"), row(TEXTS[2], 2)]
    batch = task.collate(task.encode(rows, TOKENIZER, 64), [0, 1], 0)
    logits = model(batch["token_ids"], batch["segment_ids"], batch["attention_mask"]).logits
    chances = logits.softmax(-1)
    assert task_objective(task)(model, batch).loss.item() == pytest.approx(
        -(chances[0, 2].log() + chances[1, 0].log()).item() / 2
    )
    for answer, found in zip(task.predict(model, batch), chances, strict=True):
        assert answer.label == int(found.argmax())
        assert answer.probability == pytest.approx(found.max().item())


def test_evaluation_leaves_rows_without_a_label_out_and_counts_unknown_ones_as_wrong(task: Task) -> None:
    rows = [row("春", "诗"), row("夏", 2), row("秋", "新"), row("冬", None)]
    found = task.evaluate(rows, [Prediction(2, 0.9), Prediction(1, 0.5), Prediction(0, 0.5), Prediction(0, 0.5)])
    assert found.score == pytest.approx(1 / 3)
    assert [line["label"] for line in found.table] == ["2", "词", "诗", "新", "mean by rows", "mean of the labels"]
    assert found.record["rows"] == 3
    assert not task.is_labelled(rows)
    assert task.is_labelled(rows[:3])


def test_a_predicted_row_keeps_its_fields_and_the_label_it_came_with(task: Task) -> None:
    answer = Prediction(0, 0.1234567)
    assert task.predicted_row(row("春", None, note="n"), answer) == {
        "text": "春", "note": "n", "label": 2, "probability": 0.123457,
    }  # fmt: skip
    again = task.predicted_row(row("春", "诗", label="诗"), answer)
    assert again == {"given_label": "诗", "text": "春", "label": 2, "probability": 0.123457}
    twice = task.predicted_row(row("春", 2, None, **again), Prediction(1, 0.5))
    assert (twice["given_label"], twice["label"]) == ("诗", "词")  # the first is the one that was given


def test_state_carries_classes_and_fields(tmp_path: Path) -> None:
    rows = [{"title": f"标题{n}", "body": "正文", "kind": n % 2} for n in range(30)]
    task = trained(tmp_path, *rows, text_field="title", second_field="body", label_field="kind")
    other = Task(task.config)
    other.load_state(json.loads(json.dumps(task.state())))
    assert (other.labels, other.fields) == (task.labels, task.fields)
    unlabelled = tiny.write_rows(tmp_path / "new.jsonl", [{"title": "春", "body": "夏"}])
    (found,) = other.read_rows(str(unlabelled), encoding="utf-8", format=None, on_bad_row="fail", report=RowReport())
    assert (found.text, found.second, found.label) == ("春", "夏", None)


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(ValidationError, match="`second_field` needs `text_field`"):
        Config(second_field="body")
