"""The six-variant task: what a batch holds, what is predicted, and that only dev rows choose thresholds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nlpx.data.rows.sohu import Pair
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
from nlpx.runs.objective import task_objective
from nlpx.tasks.sohu import Config, Task
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary

TEXTS = ["春风又绿江南岸", "明月何时照我还", "一江春水"]
TOKENIZER = CharTokenizer(character_vocabulary(TEXTS))


def pair(source: str, target: str, variant: int, label: int | None, **row: Any) -> Pair:
    return Pair(source, target, variant, label, id=None, place="test:1", split=None, row=row)


PAIRS = [pair(TEXTS[0], TEXTS[1], 0, 1), pair(TEXTS[2], TEXTS[0], 3, 0)]


def test_batch_holds_ids_segments_mask_condition_and_labels() -> None:
    task = Task(Config())
    batch = task.collate(task.encode(PAIRS, TOKENIZER, 64), [1, 0], TOKENIZER.pad_token_id or 0)
    short, long = 4 + 7 + 3, 7 + 7 + 3
    assert batch["token_ids"].shape == (2, long)
    assert batch["attention_mask"].sum(1).tolist() == [short, long]
    assert batch["segment_ids"].sum(1).tolist() == [8, 8]  # target and its [SEP]
    assert not batch["segment_ids"][0, short:].any()
    assert batch["condition"].tolist() == [3, 0]
    assert batch["labels"].tolist() == [0, 1]
    assert batch["num_targets"] == 2


def test_truncation_keeps_both_separators() -> None:
    task = Task(Config())
    item = task.encode(PAIRS, TOKENIZER, 9).items[0].sequences
    assert len(item.first) == 9
    assert item.first.count(TOKENIZER.sep_token_id) == 2


def test_a_blind_model_gets_no_condition() -> None:
    choices = Task(Config(conditional=False)).model_parts()
    assert "condition_size" not in choices
    assert Task(Config()).model_parts()["num_conditions"] == 6


def test_objective_is_the_mean_cross_entropy_and_probabilities_are_its_softmax() -> None:
    task = Task(Config())
    values: dict[str, Any] = {
        "vocab_size": TOKENIZER.vocab_size,
        "hidden_size": 16,
        "num_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    model = Transformer(ModelConfig(**(values | {"heads": task.heads} | task.model_parts()))).eval()
    batch = task.collate(task.encode(PAIRS, TOKENIZER, 64), [0, 1], 0)
    probabilities = task.predict(model, batch)
    loss = task_objective(task)(model, batch).loss.item()
    expected = -(torch.tensor([probabilities[0], 1 - probabilities[1]]).log().mean()).item()
    assert loss == pytest.approx(expected, abs=1e-6)


def test_score_is_the_mean_of_both_criteria() -> None:
    evaluation = Task(Config()).evaluate(PAIRS, [0.9, 0.8])
    assert evaluation.score == 0.5  # A is right, B is wrong
    assert evaluation.table[-1]["f1"] == 0.5


def test_only_calibration_moves_the_thresholds() -> None:
    task = Task(Config(threshold="best"))
    rows = [pair("a", "b", 0, 1), pair("a", "b", 0, 0), pair("a", "b", 1, 1), pair("a", "b", 1, 0)]
    outputs = [0.3, 0.1, 0.9, 0.7]
    task.evaluate(rows, outputs)
    assert task.thresholds == {"A": 0.5, "B": 0.5}
    task.calibrate(rows, outputs)
    assert 0.1 < task.thresholds["A"] <= 0.3
    assert 0.7 < task.thresholds["B"] <= 0.9
    assert task.evaluate(rows, outputs).score == 1.0
    other = Task(Config(threshold="best"))
    other.load_state(task.state())
    assert other.thresholds == task.thresholds
    fixed = Task(Config(threshold=0.2))
    fixed.calibrate(rows, outputs)
    assert fixed.thresholds == {"A": 0.2, "B": 0.2}


def test_a_predicted_row_keeps_its_fields_and_names_its_variant() -> None:
    task = Task(Config())
    given = {"note": "n", "type": "sl"}
    row = task.predicted_row(pair("a", "b", 2, None, **given), 0.75)
    assert row == given | {"variant": "slA", "label": 1, "probability": 0.75}
    on_the_line = Task(Config(threshold=0.75)).predicted_row(pair("a", "b", 2, None, **given), 0.75)
    assert on_the_line["label"] == 1  # as when it is evaluated
    assert "variant" not in task.predicted_row(pair("a", "b", 0, None, type="ssA"), 0.1)
