"""A task, a loss and a trick from outside work as those that ship do: jobs ask the contract and know none by name."""

from __future__ import annotations

import json
from collections import Counter
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn import functional

import tiny
from nlpx.configuration import registry
from nlpx.configuration.section import Section
from nlpx.data.rows.reading import read_rows
from nlpx.data.rows.splits import Splits
from nlpx.errors import UsageError
from nlpx.objectives import ObjectiveOutput
from nlpx.runs.inference import Predictor
from nlpx.tasks import EncodedRows, Evaluation, LabelledTask, OwnLoss, Table
from nlpx.tokenizers.padding import padded

TEXTS = ["今天天气很好", "明天下雨", "我们去公园", "他在家看书"] * 6


class Empty(Section):
    pass


class Row(NamedTuple):
    text: str


class MaskedTask:
    """Predict every token from the rest of its text, with the vocabulary head: no labels, no loss of `losses/`."""

    primary_metric, example = "token accuracy", '{"text": "..."}'
    heads, outputs, targets, loss, alternatives = ("lm",), ("logits",), "", None, {}

    def __init__(self, config: Empty) -> None: ...

    def read(self, data: Any, **_: Any) -> Splits[Row]:
        rows = [Row(row.values["text"]) for path in data for row in read_rows(path)]
        return Splits(rows[4:], rows[:4], [])

    def read_rows(self, source: str, **_: Any) -> Any:
        return (Row(row.values["text"]) for row in read_rows(source))

    def texts(self, rows: Any) -> Any:
        return (row.text for row in rows)

    def model_parts(self) -> dict[str, Any]:
        return {}

    def encode(self, rows: Any, tokenizer: Any, max_length: int) -> EncodedRows:
        items = [encoding.token_ids for encoding in tokenizer.encode_batch([row.text for row in rows])]
        return EncodedRows(items, [len(item) for item in items])

    def collate(self, encoded: EncodedRows, rows: Any, pad_token_id: int) -> dict[str, Any]:
        items = [encoded.items[row] for row in rows]
        arrays = padded(items, [len(item) for item in items], pad_token_id)
        return {name: torch.from_numpy(array) for name, array in arrays.items()} | {"num_targets": len(items)}

    def forward(self, model: Any, batch: dict[str, Any]) -> dict[str, Any]:
        return {"logits": model(batch["token_ids"], attention_mask=batch["attention_mask"]).heads["lm"]}

    def objective(self, model: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        logits = self.forward(model, batch)["logits"]
        return ObjectiveOutput(functional.cross_entropy(logits.flatten(0, 1), batch["token_ids"].flatten()))

    def predict(self, model: Any, batch: dict[str, Any]) -> list[Any]:
        return (self.forward(model, batch)["logits"].argmax(-1) == batch["token_ids"]).float().mean(1).tolist()

    def evaluate(self, rows: Any, predictions: Any) -> Evaluation:
        score = sum(predictions) / len(predictions)
        return Evaluation(score, {"score": score, "score_is": self.primary_metric})

    def tables(self, record: Any) -> list[Table]:
        return [Table([record], ("score", "score_is"))]

    def predicted_row(self, row: Row, prediction: float) -> dict[str, Any]:
        return {"text": row.text, "accuracy": prediction}

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None: ...


class HalfLoss:
    def __init__(self, config: Empty, facts: Any) -> None:
        self.facts = facts

    def __call__(self, outputs: Any, batch: Any) -> torch.Tensor:
        assert Counter(self.facts.label_counts)  # of the training rows
        return functional.cross_entropy(outputs["logits"].float(), batch["labels"]) / 2


class ReadsLogits:
    """Adds nothing, but looks at the logits of every batch, as R-Drop does."""

    def __init__(self, config: Empty) -> None:
        self.seen = 0

    def wrap(self, inner: Any) -> Any:
        def objective(model: Any, batch: Any) -> ObjectiveOutput:
            found = inner(model, batch)
            self.seen += found.outputs["logits"].shape[0]
            return found

        return objective

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class PerturbsInput(ReadsLogits):
    """A second pass with noise on the word vectors, through the hook that every encoder offers."""

    def wrap(self, inner: Any) -> Any:
        def objective(model: Any, batch: Any) -> ObjectiveOutput:
            table = model.get_input_embeddings()
            hook = table.register_forward_hook(lambda module, given, vectors: vectors + 0.01)
            try:
                self.seen += 1
                return inner(model, batch)
            finally:
                hook.remove()

        return objective


def module(**attributes: Any) -> ModuleType:
    made = ModuleType("outside")
    made.__dict__.update({"Config": Empty} | attributes)
    return made


NONE: frozenset[str] = frozenset()
OUTSIDE = {
    ("tasks", "masked"): module(Task=MaskedTask),
    ("losses", "half"): module(Loss=HalfLoss, OUTPUTS=("logits",), TARGETS="classes"),
    ("losses", "scores"): module(Loss=HalfLoss, OUTPUTS=("vectors",), TARGETS="scores"),
    ("tricks", "reads"): module(Trick=ReadsLogits, WRAPS="objective", NEEDS=frozenset({"logits"}), CONFLICTS=NONE),
    ("tricks", "vectors"): module(Trick=ReadsLogits, WRAPS="objective", NEEDS=frozenset({"vectors"}), CONFLICTS=NONE),
    ("tricks", "noise"): module(Trick=PerturbsInput, WRAPS="objective", NEEDS=NONE, CONFLICTS=NONE),
}


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of `OUTSIDE`, as if they lay in the package."""
    load, names = registry.load, registry.plugins
    added = lambda folder: [name for place, name in OUTSIDE if place == folder]  # noqa: E731
    monkeypatch.setattr(registry, "load", lambda folder, name: OUTSIDE.get((folder, name)) or load(folder, name))
    monkeypatch.setattr(registry, "plugins", lambda folder: sorted([*names(folder), *added(folder)]))


@pytest.fixture
def rows(tmp_path: Any) -> str:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": text, "label": "天" in text}, ensure_ascii=False) for text in TEXTS]
    path.write_text("\n".join(line.replace("true", "1").replace("false", "0") for line in lines), encoding="utf-8")
    return str(path)


SIZES = ["hidden_size=16", "num_layers=1", "num_attention_heads=2", "intermediate_size=16", "vocab_size=100"]


def finetuned(rows: str, tmp_path: Any, *overrides: str, task: str = "classify") -> Any:
    from nlpx.configuration.presets import resolve
    from nlpx.jobs.finetune import Config, RunOptions, finetune
    from nlpx.messages import Silent

    settings = [f"model.new.{size}" for size in SIZES] + ["train.steps=3", "train.epochs=null", *overrides]
    flags = {"task": task, "data.path": rows, "device": "cpu"}
    resolved = resolve(Config, preset="finetune/classify-new", overrides=settings, flags=flags)
    return finetune(resolved, RunOptions(out=tmp_path / "run"), Silent())


def test_a_task_with_another_head_and_its_own_loss(rows: str, tmp_path: Any) -> None:
    assert isinstance(MaskedTask(Empty()), OwnLoss)
    assert not isinstance(MaskedTask(Empty()), LabelledTask)
    finished = finetuned(rows, tmp_path, "task_options=null", task="masked")
    assert 0 <= finished.score <= 1
    assert "token accuracy" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    predictor = Predictor(tmp_path / "run" / "checkpoints" / "best", torch.device("cpu"))
    (found,) = predictor.predict([Row("今天下雨")])
    assert found["text"] == "今天下雨"
    assert 0 <= found["accuracy"] <= 1


def test_a_loss_is_found_by_name(rows: str, tmp_path: Any) -> None:
    finetuned(rows, tmp_path / "plain", "train.log_every=1")
    finetuned(rows, tmp_path / "half", "train.log_every=1", "loss=half")
    records = [tiny.metrics(tmp_path / name / "run") for name in ("plain", "half")]
    first = [next(record["loss"] for record in found if record["split"] == "train") for found in records]
    assert first[1] == pytest.approx(first[0] / 2, rel=1e-5)


def test_a_loss_of_other_targets_is_refused_before_the_run(rows: str, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="`scores` is one of scores, and the task's targets are classes"):
        finetuned(rows, tmp_path, "loss=scores")
    assert not (tmp_path / "run").exists()


def test_a_loss_for_a_task_with_its_own_is_refused(rows: str, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="computes its own loss"):
        finetuned(rows, tmp_path, "task_options=null", "loss=half", task="masked")


@pytest.mark.parametrize("trick", ["reads", "noise"])
def test_a_trick_sees_what_it_needs(rows: str, tmp_path: Any, trick: str) -> None:
    assert finetuned(rows, tmp_path, f"tricks={{{trick}: {{}}}}").score is not None


def test_a_need_that_is_not_met_is_refused_before_the_run(rows: str, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=r"`vectors` reads `vectors`, which the task classify does not give"):
        finetuned(rows, tmp_path, "tricks={vectors: {}}")
    assert not (tmp_path / "run").exists()


def test_pretraining_gives_its_logits_to_a_trick_that_needs_them(rows: str, tmp_path: Any) -> None:
    assert pretrained(rows, tmp_path, "tricks={reads: {}}") is not None
    with pytest.raises(UsageError, match="`vectors` reads `vectors`, which the objective mlm does not give"):
        pretrained(rows, tmp_path / "other", "tricks={vectors: {}}")


def pretrained(rows: str, tmp_path: Any, *overrides: str) -> Any:
    from nlpx.configuration.presets import resolve
    from nlpx.jobs.pretrain import Config, RunOptions, pretrain
    from nlpx.messages import Silent

    sizes = [f"model.new.{size}" for size in SIZES]
    settings = [*sizes, "train.steps=2", "train.batch_size=4", "data.held_out=0.2", "data.workers=1", *overrides]
    flags = {"data.paths": [rows], "data.cache": str(tmp_path / "cache"), "device": "cpu"}
    resolved = resolve(Config, preset="pretrain/mlm-new", overrides=settings, flags=flags)
    return pretrain(resolved, RunOptions(out=tmp_path / "run"), Silent())
