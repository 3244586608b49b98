"""One task a file: rows, batches, what the model needs, outputs, evaluation, prediction.

A task's file has `class Config(Section)` and `class Task`, built from its configuration, with what the protocol `Task`
here lists; one whose rows have labels has what `LabelledTask` adds. Jobs, predictor and report ask the task and know
none by name. No torch at module level: presets are checked without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nlpx.report.tables import Table

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.baselines import Baseline
    from nlpx.data.rows.reading import OnBadRow, RowReport
    from nlpx.data.rows.splits import Paths
    from nlpx.models.config import ModelConfig
    from nlpx.models.encoder import Encoder
    from nlpx.objectives import ObjectiveOutput
    from nlpx.tokenizers.base import Tokenizer

__all__ = [
    "ComparedTask",
    "ConfidentTask",
    "EncodedRows",
    "Evaluation",
    "JudgedTask",
    "LabelledTask",
    "OwnLoss",
    "PublishingTask",
    "SelectiveTask",
    "ShiftedTask",
    "Table",
    "Task",
]


@dataclass(slots=True)
class Evaluation:
    """What an evaluation found: the score to compare runs by, a record for the metrics, a table for people."""

    score: float
    record: dict[str, Any]
    table: list[dict[str, Any]] = field(default_factory=list)
    columns: Sequence[str] = ()
    samples: Sequence[str] = ()  # a few predictions in words, for the log


@dataclass(slots=True)
class EncodedRows:
    """Encoded rows: what a task's `collate` reads, and their lengths in tokens, padding between parts included."""

    items: list[Any]
    lengths: list[int]
    sequence_lengths: list[int] | None = None  # the longest sequence of each row, where a row is several
    truncated: list[str] | None = None  # sentences on what was truncated, of a task that counts it itself

    def num_at(self, max_length: int) -> int:
        """How many rows hold a sequence of `max_length` tokens, which truncation may have made so."""
        return sum(length >= max_length for length in self.sequence_lengths or self.lengths)


class Task(Protocol):
    """What a job needs of every task."""

    primary_metric: str  # the name of the score
    example: str  # a row, for those who have given none
    heads: tuple[str, ...]  # of the model, such as ("classification",)
    outputs: tuple[str, ...]  # what `forward` gives, by name
    targets: str  # what a loss of `losses/` must be one of; "" for a task that computes its own, see `OwnLoss`
    loss: str | None  # the loss that is taken where none is chosen
    # Key of `model_parts`, or `heads`, -> the setting that does without, for models that lack it.
    alternatives: Mapping[str, str]

    def read(
        self,
        data: Paths,
        *,
        dev: Paths = (),
        test: Paths = (),
        encoding: str,
        format: str | None,
        on_bad_row: OnBadRow,
        report: RowReport,
    ) -> Any:
        """Rows as an object with `train`, `dev`, `test` and `notes`; `dev` and `test` are files of their own."""
        ...

    def read_rows(
        self, source: str, *, encoding: str, format: str | None, on_bad_row: OnBadRow, report: RowReport
    ) -> Iterator[Any]:
        """Rows to predict, one at a time, labels optional."""
        ...

    def texts(self, rows: Iterable[Any]) -> Iterator[str]:
        """All texts of the rows, for a vocabulary."""
        ...

    def model_parts(self) -> dict[str, Any]:
        """Keys of `ModelConfig` beside the heads that the model must have, such as `num_labels`."""
        ...

    def encode(self, rows: Sequence[Any], tokenizer: Tokenizer, max_length: int) -> EncodedRows:
        """Rows as ids."""
        ...

    def collate(self, encoded: EncodedRows, rows: Sequence[int], pad_token_id: int) -> dict[str, Any]:
        """One padded batch of tensors, with `num_targets`."""
        ...

    def forward(self, model: Encoder, batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the model says of a batch, by the names of `outputs`; the loss is computed from it."""
        ...

    def predict(self, model: Encoder, batch: dict[str, Any]) -> list[Any]:
        """One prediction a row of the batch."""
        ...

    def evaluate(self, rows: Sequence[Any], predictions: Sequence[Any]) -> Evaluation:
        """Compare predictions with what the rows say."""
        ...

    def tables(self, record: Mapping[str, Any]) -> list[Table]:
        """The tables of a report from the record of an evaluation."""
        ...

    def predicted_row(self, row: Any, prediction: Any) -> dict[str, Any]:
        """The row as it came, with the prediction added."""
        ...

    def state(self) -> dict[str, Any]:
        """What a prediction needs beside configuration and weights, such as a threshold; JSON values."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        ...


@runtime_checkable
class OwnLoss(Protocol):
    """What a task adds whose loss, unless another is chosen, is none of `losses/`."""

    def objective(self, model: Encoder, batch: dict[str, Any]) -> ObjectiveOutput:
        """The loss of one batch."""
        ...


@runtime_checkable
class SelectiveTask(Protocol):
    """What a task adds that not every model of ours can be trained for."""

    def check_model(self, config: ModelConfig | None) -> None:
        """Raise `UsageError` for a model that it cannot be, by its stored configuration; None: a new one."""
        ...


@runtime_checkable
class ShiftedTask(Protocol):
    """What a task adds whose answers are the largest logits, to which a loss may want something added."""

    decision_shift: list[float] | None  # by class; `state` carries it


@runtime_checkable
class PublishingTask(Protocol):
    """What a task adds whose checkpoints need files of their own."""

    def publish(self, directory: Path, max_length: int) -> None:
        """Write them beside the weights."""
        ...


@runtime_checkable
class JudgedTask(Protocol):
    """What a task adds whose rows may or may not say what is right, such as a label or a text."""

    def is_labelled(self, rows: Iterable[Any]) -> bool:
        """Whether every row says it."""
        ...


@runtime_checkable
class ConfidentTask(JudgedTask, Protocol):
    """What a task adds that tells its mistakes by how sure it was of them."""

    def mistakes(self, rows: Sequence[Any], predictions: Sequence[Any]) -> list[dict[str, Any]]:
        """The rows that were answered wrongly, with the answers, the surest first."""
        ...


@runtime_checkable
class LabelledTask(JudgedTask, Protocol):
    """What a task adds whose rows have labels."""

    def label_counts(self, rows: Iterable[Any]) -> list[int]:
        """How often each class occurs."""
        ...

    def calibrate(self, rows: Sequence[Any], predictions: Sequence[Any]) -> None:
        """Settle on dev rows what the task leaves open, such as a threshold; `state` carries it."""
        ...


@runtime_checkable
class ComparedTask(JudgedTask, Protocol):
    """What a task adds that knows plain ways of doing it."""

    def baselines(self, rows: Sequence[Any]) -> list[Baseline]:
        """The plain ways that a model must beat, fitted on training rows. Raises `InputError` if they cannot be."""
        ...
