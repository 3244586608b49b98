"""`nlpx predict`: rows in, the same rows with label and probability out, in order, in constant memory."""

from __future__ import annotations

import io
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TextIO, cast

from nlpx.errors import InputError, UsageError
from nlpx.jobs.predict.answers import answered

if TYPE_CHECKING:
    from nlpx.data.rows.reading import OnBadRow, RowReport

WINDOW = 1024  # rows sorted by length together; more waste less padding, and hold back the first result longer


def find_checkpoint(reference: str, root: Path = Path("runs")) -> Path:
    """The published checkpoint of a run, or a checkpoint directory given itself."""
    from nlpx.io import recover_directory
    from nlpx.runs.folder import RunFolder
    from nlpx.runs.inference import TASK_FILE

    if (Path(reference) / TASK_FILE).exists():
        return Path(reference)
    run = RunFolder.open(reference, root=root)
    if run.state != "running":  # a run at work may be between the two renames itself
        recover_directory(run.best_checkpoint)
    if not run.best_checkpoint.exists():
        raise InputError(
            f"{run.path}: the run has no checkpoint to predict with", hint="train it to an evaluation first"
        )
    return run.best_checkpoint


def predict(
    reference: str,
    source: str,
    *,
    device: str = "auto",
    encoding: str = "utf-8",
    format: str | None = None,
    on_bad_row: OnBadRow = "fail",
    fields: Sequence[str] | None = None,
    every_class: bool = False,
    top_k: int | None = None,
    report: RowReport,
    root: Path = Path("runs"),
) -> Iterator[dict[str, Any]]:
    """Yield each row of `source` (a path, a URL or `-`) with the prediction of the run `reference`.

    `fields` names the texts in the rows where the run learned other names; `every_class` and `top_k` add
    probabilities, see `answers`. Rows given before a bad one are answered before its `InputError` is raised.
    """
    from nlpx.device import choose
    from nlpx.runs.inference import Predictor

    checkpoint = find_checkpoint(reference, root)
    import torch

    predictor = Predictor(checkpoint, torch.device(choose(device).device))
    task = predictor.task
    if fields:
        _choose_fields(task, fields)
    with_probabilities = every_class or top_k is not None
    if with_probabilities:
        _ask_for_probabilities(task)
    if source == "-":
        detach_stdin()
    rows = task.read_rows(source, encoding=encoding, format=format, on_bad_row=on_bad_row, report=report)
    arranged = as_they_arrive(rows, WINDOW) if source == "-" else in_windows(rows, WINDOW)
    for window in arranged:
        for row, prediction in zip(window, predictor.predictions(window), strict=True):
            found = task.class_probabilities(prediction) if with_probabilities else None  # type: ignore[attr-defined]
            yield answered(task.predicted_row(row, prediction), found, every_class=every_class, top_k=top_k)


def _choose_fields(task: Any, fields: Sequence[str]) -> None:
    from dataclasses import replace

    known = getattr(task, "fields", None)
    if known is None:
        raise UsageError("this run's task has fields of its own", hint="leave out --field")
    if len(known.texts) != len(fields):
        names = " and ".join(f"`{name}`" for name in known.texts)
        what = f"the run learned from {names}, --field names {', '.join(fields)}"
        raise UsageError(what, hint="name as many fields as it had: --field NAME for each")
    task.fields = replace(known, texts=tuple(fields))


def _ask_for_probabilities(task: Any) -> None:
    if not hasattr(task, "class_probabilities"):
        raise UsageError("this run's task has no classes, and no probabilities of them")
    task.with_probabilities = True


def in_windows(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Lists of 32 rows, then 64, ... up to `size`: the first answer comes soon, and equal files get equal answers.

    An error of `rows` is raised after the rows before it were yielded.
    """
    window, limit = [], 32
    try:
        for row in rows:
            window.append(row)
            if len(window) == limit:
                yield window
                window, limit = [], min(2 * limit, size)
    except Exception:
        if window:
            yield window
        raise
    if window:
        yield window


def as_they_arrive(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Lists of up to `size` rows: whatever has arrived, at least one, so that a slow producer is answered at once.

    An error of `rows` is raised after the rows before it were yielded.
    """
    arrived: queue.Queue[Any] = queue.Queue(maxsize=2 * size)
    done = object()

    def read() -> None:
        try:
            for row in rows:
                arrived.put((row, None))
            arrived.put((done, None))
        except BaseException as error:
            arrived.put((done, error))

    threading.Thread(target=read, daemon=True).start()
    while True:
        window, error, ended = _take(arrived, size, done)
        if window:
            yield window
        if error is not None:
            raise error
        if ended:
            return


def detach_stdin() -> None:
    """Let `sys.stdin` be a reader that the interpreter leaves alone when it exits.

    It would close its own, and abort the process if the thread that reads ahead still waits in there: that is what
    happens when the reader of our answers leaves while the producer of rows is silent.
    """
    try:
        reader = io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False))
    except OSError:  # not a file of the system: nothing waits there
        return
    sys.stdin = cast(TextIO, SimpleNamespace(buffer=reader))


def _take(arrived: queue.Queue[Any], size: int, done: object) -> tuple[list[Any], BaseException | None, bool]:
    window: list[Any] = []
    while len(window) < size:
        try:
            row, error = arrived.get(block=not window)
        except queue.Empty:
            break
        if row is done:
            return window, error, True
        window.append(row)
    return window, None, False
