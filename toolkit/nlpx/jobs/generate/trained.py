"""What a run was trained to write: the lengths of its sources and targets, from `task.json` of its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nlpx.errors import UsageError

if TYPE_CHECKING:
    from nlpx.tokenizers.base import Tokenizer


@dataclass(frozen=True, slots=True)
class TrainedLengths:
    """Tokens at most: of a source and of a target without special ones, and of a whole row with them."""

    source: int
    target: int
    row: int


def trained_lengths(folder: str, tokenizer: Tokenizer) -> TrainedLengths | None:
    """Those of a run of the task seq2seq; None for models that no task trained.

    Raises `UsageError` for the run of another task, naming the command that asks it.
    """
    from nlpx.runs.inference import TASK_FILE, read_settings, task_of

    if not (Path(folder) / TASK_FILE).is_file():
        return None
    settings = read_settings(Path(folder))
    if settings.task == "qa":
        raise UsageError(
            f"{folder} was trained to answer questions from passages, not lines",
            hint="--task qa reads questions with their passages",
        )
    if settings.task != "seq2seq":
        raise UsageError(f"{folder} was trained for the task {settings.task}", hint="`nlpx predict` asks it")
    task = task_of(settings, Path(folder) / TASK_FILE)
    limits = task.limits(tokenizer, settings.max_length)  # type: ignore[attr-defined]  # of seq2seq
    return TrainedLengths(limits.source, limits.target, settings.max_length)
