"""Processes that count side by side: no text crosses their borders, and none of them can be lost unnoticed.

Each worker has a pipe of its own, over which it is told which tasks to count and says which it has counted. A table
enters the result only together with the list of the tasks in it (`Portion`), so that a worker that dies takes with it
exactly the tasks that are given to another one again.
"""

from __future__ import annotations

import multiprocessing
import secrets
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from nlpx import errors
from nlpx.counting.portions import OnBytes, Portion, PortionCounter
from nlpx.counting.settings import CountSettings
from nlpx.counting.tasks import Reader, Task
from nlpx.errors import MachineError, UserError

# One task is counted while the next one waits in the pipe.
_TASKS_AHEAD = 2
_MOST_LOSSES = 2


class Pool:
    """Workers for one count; leaving the context ends them all."""

    def __init__(self, settings: CountSettings, folder: Path, read: Reader) -> None:
        self.segmenter = ""
        self._settings = settings
        self._folder = folder
        self._read = read
        self._context = multiprocessing.get_context(_start_method())
        self._workers: list[_Worker] = []
        self._num_started = 0
        # A checkpoint may hold the runs of an earlier call.
        self._prefix = secrets.token_hex(4)
        self._losses: dict[int, int] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()

    def start(self, tasks: Iterable[Task]) -> None:
        """Start the workers and give them their first tasks."""
        self._todo = _Todo(tasks)
        while len(self._workers) < self._settings.num_workers and self._start():
            pass

    def portions(self, on_bytes: OnBytes) -> Iterator[Portion]:
        """Yield each portion as it is handed over, until all tasks are counted; `on_bytes` hears of the progress.

        Raises the error of a worker, and MachineError if a task was lost twice with its worker.
        """
        self._on_bytes = on_bytes
        while self._workers:
            ready = wait([part for worker in self._workers for part in (worker.connection, worker.process.sentinel)])
            for worker in list(self._workers):
                if worker.connection in ready or worker.process.sentinel in ready:
                    yield from self._hear(worker)

    def _start(self) -> bool:
        """Start a worker if there is something to do for it."""
        task = self._todo.next()
        if task is None:
            return False
        name = f"{self._prefix}-{self._num_started}"
        others = [worker.connection for worker in self._workers]
        worker = _Worker(self._context, others, self._settings, self._folder, self._read, name)
        self._num_started += 1
        self._workers.append(worker)
        worker.start()
        worker.give(task)
        self._feed(worker)
        return True

    def _feed(self, worker: _Worker) -> None:
        while len(worker.given) < _TASKS_AHEAD and (task := self._todo.next()) is not None:
            worker.give(task)
        if not worker.given and not worker.is_finishing:
            worker.finish()

    def _hear(self, worker: _Worker) -> Iterator[Portion]:
        """Take everything a worker has said."""
        try:
            while worker.connection.poll():
                kind, content = worker.connection.recv()
                if kind == "portion":
                    worker.counted.clear()
                    yield content
                else:
                    self._take(worker, kind, content)
            is_over = not worker.process.is_alive() and not worker.connection.poll()
        except (EOFError, OSError):
            is_over = True
        if is_over:
            self._part_with(worker)

    def _take(self, worker: _Worker, kind: str, content: Any) -> None:
        if kind == "name":
            self.segmenter = content
        elif kind == "counted":
            task = worker.given.popleft()
            worker.counted.append(task)
            self._on_bytes(0 if task.is_open_ended else task.num_bytes)
            self._feed(worker)
        elif kind == "bytes":
            self._on_bytes(content)
        elif kind == "error":
            name, message, hint = content
            raise getattr(errors, name)(message, hint=hint)
        else:
            raise RuntimeError(f"a worker failed:\n{content}")

    def _part_with(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.join(1)
        worker.end()
        lost = [*worker.given, *worker.counted]
        if not lost and worker.is_finishing:
            return
        for task in lost:
            self._losses[task.index] = self._losses.get(task.index, 0) + 1
            if self._losses[task.index] >= _MOST_LOSSES or not task.block.source.repeatable:
                raise _lost(task, worker)
        self._todo.again(lost)
        self._start()


def _lost(task: Task, worker: _Worker) -> MachineError:
    code = worker.process.exitcode or 0
    how = f"was killed (signal {-code})" if code < 0 else f"ended with code {code}"
    again = " again" if task.block.source.repeatable else "; a stream cannot be read twice"
    hint = "was the memory used up? give fewer --workers or less --memory"
    return MachineError(f"{task.place}: the process that counted it {how}{again}", hint=hint)


class _Todo:
    """Tasks that nobody has been given, those that were lost first."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._lost: deque[Task] = deque()
        self._tasks = iter(tasks)

    def next(self) -> Task | None:
        return self._lost.popleft() if self._lost else next(self._tasks, None)

    def again(self, tasks: Iterable[Task]) -> None:
        self._lost.extend(tasks)


class _Worker:
    """A process, as the first process sees it."""

    def __init__(
        self,
        context: Any,
        others: list[Connection],
        settings: CountSettings,
        folder: Path,
        read: Reader,
        name: str,
    ) -> None:
        self.given: deque[Task] = deque()
        self.counted: list[Task] = []
        self.is_finishing = False
        self.connection, theirs = context.Pipe()
        # A copy of one of our ends would keep a worker waiting for ever for a first process that was killed.
        arguments = (theirs, [*others, self.connection], settings, folder, read, name)
        self.process = context.Process(target=_work, args=arguments, name=name, daemon=True)
        self._theirs = theirs

    def start(self) -> None:
        self.process.start()
        # Held by the worker alone, the other end closes when it dies, however it does.
        self._theirs.close()

    def give(self, task: Task) -> None:
        self.given.append(task.without_text())
        self._say(task)

    def finish(self) -> None:
        self.is_finishing = True
        self._say(None)

    def _say(self, task: Task | None) -> None:
        with suppress(OSError):  # it is dead: the next `wait` finds out
            self.connection.send(task)

    def end(self) -> None:
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()
        self.connection.close()


def _start_method() -> str:
    # A fork costs milliseconds where a new interpreter costs tenths of a second, but a process with threads can
    # hold locks that no one would ever open again in its copy.
    is_safe = sys.platform == "linux" and threading.active_count() == 1
    return "fork" if is_safe else "spawn"


def _work(
    connection: Connection,
    not_ours: list[Connection],
    settings: CountSettings,
    folder: Path,
    read: Reader,
    name: str,
) -> None:
    """A worker: count what comes, until None does."""
    for other in not_ours:
        other.close()
    # Ctrl-C reaches every process of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the first process is gone
        place = "counting"
        try:
            counter = PortionCounter(settings, folder, read, name=name)
            connection.send(("name", counter.segmenter))
            while (task := connection.recv()) is not None:
                place = task.place
                counter.count(task, on_bytes=lambda number: connection.send(("bytes", number)))
                connection.send(("counted", task.index))
                if counter.is_due:
                    connection.send(("portion", counter.hand_over()))
            connection.send(("portion", counter.hand_over()))
        except UserError as error:
            connection.send(("error", (type(error).__name__, error.message, error.hint)))
        except MemoryError:
            message, hint = f"{place}: out of memory", "give fewer --workers or less --memory"
            connection.send(("error", ("MachineError", message, hint)))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception:
            connection.send(("bug", traceback.format_exc()))
