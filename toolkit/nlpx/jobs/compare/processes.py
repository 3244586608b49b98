"""Runs in processes of their own, several at a time: each has its peak of memory, its seed and its threads alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nlpx.errors import MachineError, ResultError, UserError
from nlpx.messages import Silent

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from nlpx.jobs.compare.cells import Cell

# What every run imports, once for all of them; what is not installed is passed over.
PRELOADED = [
    "torch._dynamo",  # by torch's optimizers, in seconds
    "sklearn.metrics",
    "matplotlib.backends.backend_agg",
    "matplotlib.font_manager",
    "nlpx.runs.following",
    "nlpx.jobs.finetune.job",
]


class Logged(Silent):
    """Says nothing, and keeps notes and warnings in the log of the run."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._path: Path | None = None

    def note(self, text: str) -> None:
        """A line of the log."""
        self._write(text)

    def warn(self, text: str) -> None:
        """A line of the log."""
        self._write(f"Warning: {text}")

    def log_to(self, path: str | Path) -> None:
        """Keep all of it in this file, what was said before included."""
        self._path = Path(path)

    def _write(self, line: str) -> None:
        self._lines.append(line)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as log:
                log.writelines(f"{line}\n" for line in self._lines)
            self._lines.clear()


def run_cells(cells: Sequence[Cell], num_jobs: int) -> Iterator[tuple[Cell, ResultError | None]]:
    """Run them, `num_jobs` at a time, and yield each as it ends; the error is that of a run without a result.

    Any other error of a run ends all of them, as an interrupt does, each with its state saved.
    """
    context = _context()
    waiting = list(reversed(cells))
    running: dict[int, tuple[Cell, BaseProcess, Connection]] = {}
    threads = max(1, (os.cpu_count() or 1) // num_jobs)
    try:
        while waiting or running:
            while waiting and len(running) < num_jobs:
                cell = waiting.pop()
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(cell, there, threads if num_jobs > 1 else None))
                process.start()
                there.close()
                running[process.sentinel] = (cell, process, here)
            for sentinel in wait(list(running)):
                cell, process, here = running.pop(cast("int", sentinel))
                yield cell, _outcome(cell, process, here)
    finally:
        _stop([process for _, process, _ in running.values()])


def _context() -> Any:
    """Processes that begin with torch loaded and nothing computed, where the system can fork; new ones elsewhere."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _work(cell: Cell, there: Connection, threads: int | None) -> None:
    """In the process of a run. It leaves the terminal's group, so that an interrupt comes once, from its parent."""
    from nlpx.jobs.finetune import finetune

    if hasattr(os, "setsid"):
        os.setsid()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    try:
        finetune(cell.resolved, cell.options(), Logged())
    except UserError as error:
        there.send((type(error), error.message, error.hint))
    except KeyboardInterrupt:
        sys.exit(1)
    there.close()


def _outcome(cell: Cell, process: BaseProcess, here: Connection) -> ResultError | None:
    process.join()
    with here:
        sent = None
        with suppress(EOFError):
            sent = here.recv() if here.poll() else None
    if sent is not None:
        kind, message, hint = sent
        error = kind(f"{cell.column}, seed {cell.seed}: {message}", hint=hint)
        if isinstance(error, ResultError):
            return error
        raise error
    if process.exitcode:
        how = f"by signal {-process.exitcode}" if process.exitcode < 0 else f"with exit code {process.exitcode}"
        raise MachineError(
            f"{cell.folder}: the run of {cell.column}, seed {cell.seed}, ended {how}",
            hint="the same command goes on where it stopped; fewer --jobs need less memory",
        )
    return None


def _stop(processes: Sequence[BaseProcess]) -> None:
    """Interrupt each once, so that it saves, and wait; a second interrupt here ends them at once."""
    try:
        for process in processes:
            if process.is_alive() and process.pid is not None and os.name == "posix":
                os.kill(process.pid, signal.SIGINT)
            else:
                process.terminate()
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        for process in processes:
            process.kill()
        raise
