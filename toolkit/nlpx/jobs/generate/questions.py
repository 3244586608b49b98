"""`nlpx generate RUN --task qa`: questions with their passages, answered as the run was trained to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nlpx.errors import UsageError

if TYPE_CHECKING:
    from nlpx.data.rows.reading import RowReport
    from nlpx.data.rows.texts import Texts


def answer_questions(run: str, given: Texts, *, device: str, report: RowReport) -> Iterator[dict[str, Any]]:
    """Each question's row with `generated`, `score` and `passages_used`; a bad row ends it.

    Raises `UsageError` for a run of another task.
    """
    from nlpx.jobs.predict import find_checkpoint, predict
    from nlpx.runs.inference import read_settings

    task = read_settings(find_checkpoint(run)).task
    if task != "qa":
        raise UsageError(f"{run} was trained for the task {task}, not for qa", hint="leave out --task")
    return predict(run, given.source, device=device, encoding=given.encoding, format=given.format, report=report)
