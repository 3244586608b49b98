"""Running a fine-tuned model over rows: the evaluation of a run and `nlpx predict` are the same code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt, ValidationError

from nlpx.configuration import registry
from nlpx.configuration.section import Section
from nlpx.data.batches.bucketing import in_row_order, sequential_batches
from nlpx.data.rows.writing import RowWriter
from nlpx.errors import InputError
from nlpx.io import write_atomically, write_json
from nlpx.tasks import ConfidentTask, EncodedRows, Evaluation, Task
from nlpx.train.config import Precision
from nlpx.train.precision import autocast, resolve_precision

TASK_FILE = "task.json"
AGAIN = "it is not as it was written: copy it again, or fine-tune again"
BATCH_TOKENS = 8192


def predict_encoded(
    task: Task, model: Any, encoded: EncodedRows, pad_token_id: int, device: torch.device, precision: Precision
) -> list[Any]:
    """One prediction a row, in the order of the rows, from batches of similar length."""
    batches = sequential_batches(encoded.lengths, batch_tokens=BATCH_TOKENS)
    resolved, _ = resolve_precision(precision, device=device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(resolved, device=device):
            predictions = [_run(task, model, encoded, rows, pad_token_id, device) for rows in batches]
    finally:
        model.train(was_training)
    return in_row_order(batches, predictions)


def _run(
    task: Task, model: Any, encoded: EncodedRows, rows: Sequence[int], pad_token_id: int, device: torch.device
) -> list[Any]:
    batch = task.collate(encoded, rows, pad_token_id)
    moved = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    return task.predict(model, moved)


def save_task(directory: Path, config: Any, task: Task) -> None:
    """Write `task.json`: the task, its options and state, and the length texts are truncated to."""
    options = config.task_options.model_dump(mode="json")
    settings = {"task": config.task, "task_options": options, "max_length": config.data.max_length}
    write_json(directory / TASK_FILE, settings | {"precision": config.train.precision, "state": task.state()})


class TaskFile(Section):
    """What `task.json` holds."""

    task: str
    task_options: dict[str, Any]
    max_length: PositiveInt
    precision: Precision
    state: dict[str, Any]


class Predictor:
    """A published checkpoint of a fine-tuned task, ready to run over rows."""

    def __init__(self, directory: Path, device: torch.device) -> None:
        from nlpx.models.checkpoints.load import load_trained
        from nlpx.tokenizers.load import load_tokenizer

        settings = read_settings(directory)
        self.task = task_of(settings, directory / TASK_FILE)
        self.max_length = settings.max_length
        self.precision = settings.precision
        self.device = device
        self.tokenizer = load_tokenizer(directory)
        self.model = load_trained(directory).to(device)
        self.tokenizer.require_rows(self.model.config.vocab_size, name=directory)
        self._require_classes(directory)

    def _require_classes(self, directory: Path) -> None:
        asked = self.task.model_parts().get("num_labels")
        classifier = getattr(self.model, "classifier", None)
        layer: Any = getattr(classifier, "linear", classifier)
        if asked is not None and layer is not None and layer.out_features != asked:
            raise InputError(
                f"{directory / TASK_FILE}: `state` has {asked} classes, the model {layer.out_features}", hint=AGAIN
            )

    def predict(self, rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """The rows as they came, in order, with the prediction added."""
        for row, prediction in zip(rows, self.predictions(rows), strict=True):
            yield self.task.predicted_row(row, prediction)

    def answer(self, rows: Sequence[Any], file: Path, *, mistakes: Path | None = None) -> Evaluation:
        """Write the rows with their predictions as JSON lines, and compare them with the labels they have.

        `mistakes` is a file for those that are wrong, of a task that tells how sure it was of them.
        """
        predictions = self.predictions(rows)
        pairs = zip(rows, predictions, strict=True)
        _write_rows(file, (self.task.predicted_row(row, prediction) for row, prediction in pairs))
        if mistakes is not None and isinstance(self.task, ConfidentTask):
            _write_rows(mistakes, self.task.mistakes(rows, predictions))
        return self.task.evaluate(rows, predictions)

    def predictions(self, rows: Sequence[Any]) -> list[Any]:
        """What the task predicts of each row, in order."""
        encoded = self.task.encode(rows, self.tokenizer, self.max_length)
        pad = self.tokenizer.pad_token_id or 0
        return predict_encoded(self.task, self.model, encoded, pad, self.device, self.precision)


def _write_rows(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    file.parent.mkdir(exist_ok=True)
    with write_atomically(file) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        RowWriter(stream).write_all(rows)


def read_settings(directory: Path) -> TaskFile:
    """What `task.json` of a checkpoint says. Raises `InputError` if there is none, or another."""
    file = directory / TASK_FILE
    if not file.exists():
        raise InputError(
            f"{directory}: not a fine-tuned checkpoint: no {TASK_FILE}", hint="give a run of nlpx finetune"
        )
    try:
        return TaskFile.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise _not_a_task(file, error) from None


def task_of(settings: TaskFile, file: Path) -> Task:
    """The task of a checkpoint with what it settled in training."""
    module = registry.load("tasks", settings.task)
    try:
        task: Task = module.Task(module.Config.model_validate(settings.task_options))
        task.load_state(settings.state)
    except ValidationError as error:
        raise _not_a_task(file, error) from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: `state` is not that of a {settings.task} run: {error}", hint=AGAIN) from None
    return task


def _not_a_task(file: Path, error: ValidationError) -> InputError:
    details = error.errors(include_url=False)[0]
    place = ".".join(map(str, details["loc"]))
    return InputError(f"{file}: {f'`{place}`: ' if place else ''}{details['msg']}", hint=AGAIN)
