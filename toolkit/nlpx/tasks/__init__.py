"""One task a file: rows, batches, model, objective, evaluation, prediction.

A task's file has `class Config(Section)` and `class Task`, built from its configuration, with what `TaskLike` lists.
No torch at module level: presets are checked without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nlpx.data.rows.reading import OnBadRow, RowReport
    from nlpx.objectives import Loss
    from nlpx.tokenizers.base import Tokenizer


@dataclass(slots=True)
class Evaluation:
    """What an evaluation found: the score to compare runs by, a record for the metrics, a table for people."""

    score: float
    record: dict[str, Any]
    table: list[dict[str, Any]] = field(default_factory=list)
    columns: Sequence[str] = ()


@dataclass(slots=True)
class Examples:
    """Encoded rows: what a task's `collate` reads, and their lengths in tokens."""

    items: list[Any]
    lengths: list[int]


class TaskLike(Protocol):
    """What a job needs of a task."""

    headline: str  # the name of the score
    example: str  # a row, for those who have given none

    def read(self, data: str, *, encoding: str, on_bad_row: OnBadRow, report: RowReport) -> Any:
        """Rows as an object with `train`, `dev`, `test` and `notes`."""
        ...

    def read_rows(
        self, source: str, *, encoding: str, format: str | None, on_bad_row: OnBadRow, report: RowReport
    ) -> Iterator[Any]:
        """Rows to predict, one at a time, labels optional."""
        ...

    def texts(self, rows: Iterable[Any]) -> Iterator[str]:
        """All texts of the rows, for a vocabulary."""
        ...

    def model_choices(self) -> dict[str, Any]:
        """Head and parts the model must have."""
        ...

    def encode(self, rows: Sequence[Any], tokenizer: Tokenizer, max_length: int) -> Examples:
        """Rows as ids."""
        ...

    def collate(self, examples: Examples, rows: Sequence[int], pad_token_id: int) -> dict[str, Any]:
        """One padded batch of tensors, with `num_targets`."""
        ...

    def objective(self, model: Any, batch: dict[str, Any]) -> Loss:
        """The loss of one batch."""
        ...

    def is_labelled(self, rows: Iterable[Any]) -> bool:
        """Whether every row has a label."""
        ...

    def label_counts(self, rows: Iterable[Any]) -> list[int]:
        """How often each label occurs."""
        ...

    def outputs(self, model: Any, batch: dict[str, Any]) -> list[Any]:
        """One prediction a row of the batch."""
        ...

    def calibrate(self, rows: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Settle on dev rows what the task leaves open, such as a threshold; `state` carries it."""
        ...

    def evaluate(self, rows: Sequence[Any], outputs: Sequence[Any]) -> Evaluation:
        """Compare predictions with labels."""
        ...

    def predicted_row(self, row: Any, output: Any) -> dict[str, Any]:
        """The row as it came, with the prediction added."""
        ...

    def state(self) -> dict[str, Any]:
        """What a prediction needs beside configuration and weights, such as a threshold; JSON values."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        ...
