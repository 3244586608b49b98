"""A pool of processes that count: texts stay in the process that reads them, and no loss goes unnoticed.

Each worker has a pipe of its own, over which it receives the items to count and reports those it has counted. A table
enters the result only together with the list of the items in it (`Portion`), so that a worker that dies takes with it
exactly the items that are assigned to another one put_back.
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
from nlpx.counting.work import Reader, WorkItem
from nlpx.errors import MachineError, UserError
from nlpx.faults import fault_of

# One item is counted while the next one waits in the pipe, so that a worker never waits for the first process.
_ITEMS_AHEAD = 2
# An item that takes two workers with it would take a third; after one loss it may have been chance.
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

    def start(self, items: Iterable[WorkItem]) -> None:
        """Start the workers and assign them their first items."""
        self._queue = _Queue(items)
        while len(self._workers) < self._settings.num_workers and self._start():
            pass

    def portions(self, on_bytes: OnBytes) -> Iterator[Portion]:
        """Yield each portion as it is handed over, until all items are counted; `on_bytes` is called with the progress.

        Raises the error of a worker, and MachineError if an item was lost twice with its worker.
        """
        self._on_bytes = on_bytes
        while self._workers:
            # The sentinel is ready when the process ends: a worker that dies without a message is noticed as well.
            ready = wait([part for worker in self._workers for part in (worker.connection, worker.process.sentinel)])
            for worker in list(self._workers):
                if worker.connection in ready or worker.process.sentinel in ready:
                    yield from self._receive(worker)

    def _start(self) -> bool:
        """Start a worker if there is something to do for it."""
        item = self._queue.next()
        if item is None:
            return False
        name = f"{self._prefix}-{self._num_started}"
        others = [worker.connection for worker in self._workers]
        worker = _Worker(self._context, others, self._settings, self._folder, self._read, name)
        self._num_started += 1
        self._workers.append(worker)
        worker.start()
        worker.assign(item)
        self._feed(worker)
        return True

    def _feed(self, worker: _Worker) -> None:
        while len(worker.assigned) < _ITEMS_AHEAD and (item := self._queue.next()) is not None:
            worker.assign(item)
        if not worker.assigned and not worker.is_finishing:
            worker.finish()

    def _receive(self, worker: _Worker) -> Iterator[Portion]:
        """Handle every message of a worker; a worker that has died is removed once its pipe is empty."""
        try:
            while worker.connection.poll():
                kind, content = worker.connection.recv()
                if kind == "portion":
                    worker.counted.clear()  # they are in the portion, so a death no longer loses them
                    yield content
                else:
                    self._handle(worker, kind, content)
            # In this order: what a worker wrote before it died is still in the pipe, and must be read first.
            is_over = not worker.process.is_alive() and not worker.connection.poll()
        except (EOFError, OSError):
            is_over = True
        if is_over:
            self._remove(worker)

    def _handle(self, worker: _Worker, kind: str, content: Any) -> None:
        if kind == "name":
            self.segmenter = content
        elif kind == "counted":
            item = worker.assigned.popleft()
            worker.counted.append(item)
            self._on_bytes(0 if item.is_open_ended else item.num_bytes)
            self._feed(worker)
        elif kind == "bytes":
            self._on_bytes(content)
        elif kind == "error":
            name, message, hint = content
            raise getattr(errors, name)(message, hint=hint)
        else:
            raise RuntimeError(f"a worker failed:\n{content}")

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.join(1)  # for its exit code, which the message names
        worker.end()
        # Assigned items may be half counted, counted ones are in no portion yet: both must be counted again. Their runs
        # are never listed in a portion, so nothing is counted twice.
        lost = [*worker.assigned, *worker.counted]
        if not lost and worker.is_finishing:
            return
        for item in lost:
            self._losses[item.index] = self._losses.get(item.index, 0) + 1
            if self._losses[item.index] >= _MOST_LOSSES or not item.block.source.repeatable:
                raise _lost(item, worker)
        self._queue.put_back(lost)
        self._start()


def _lost(item: WorkItem, worker: _Worker) -> MachineError:
    code = worker.process.exitcode or 0
    how = f"was killed (signal {-code})" if code < 0 else f"ended with code {code}"
    again = " again" if item.block.source.repeatable else "; a stream cannot be read twice"
    hint = "was the memory used up? give fewer --workers or less --memory"
    return MachineError(f"{item.place}: the process that counted it {how}{again}", hint=hint)


class _Queue:
    """Items that no worker has, lost ones first."""

    def __init__(self, items: Iterable[WorkItem]) -> None:
        self._lost: deque[WorkItem] = deque()
        self._items = iter(items)

    def next(self) -> WorkItem | None:
        return self._lost.popleft() if self._lost else next(self._items, None)

    def put_back(self, items: Iterable[WorkItem]) -> None:
        self._lost.extend(items)


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
        self.assigned: deque[WorkItem] = deque()
        self.counted: list[WorkItem] = []
        self.is_finishing = False
        self.connection, theirs = context.Pipe()
        # A forked worker inherits our ends of all pipes. It closes them, or else no pipe would ever be closed for it if
        # the first process were killed, and it would wait for ever.
        arguments = (theirs, [*others, self.connection], settings, folder, read, name)
        self.process = context.Process(target=_work, args=arguments, name=name, daemon=True)
        self._theirs = theirs

    def start(self) -> None:
        self.process.start()
        # Held by the worker alone, the other end closes when it dies, however it does.
        self._theirs.close()

    def assign(self, item: WorkItem) -> None:
        self.assigned.append(item.without_text())  # the text of a stream need not be held twice
        self._send(item)

    def finish(self) -> None:
        self.is_finishing = True
        self._send(None)

    def _send(self, item: WorkItem | None) -> None:
        with suppress(OSError):  # it is dead: the next `wait` finds out
            self.connection.send(item)

    def end(self) -> None:
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()
        self.connection.close()


def _start_method() -> str:
    # A fork costs milliseconds where a new interpreter costs tenths of a second, but a process with threads can
    # hold locks that no one would ever open put_back in its copy.
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
            while (item := connection.recv()) is not None:
                place = item.place
                counter.count(item, on_bytes=lambda number: connection.send(("bytes", number)))
                connection.send(("counted", item.index))
                if counter.is_due:
                    connection.send(("portion", counter.finish_portion()))
            connection.send(("portion", counter.finish_portion()))
        except UserError as error:
            connection.send(("error", (type(error).__name__, error.message, error.hint)))
        except MemoryError:
            message, hint = f"{place}: out of memory", "give fewer --workers or less --memory"
            connection.send(("error", ("MachineError", message, hint)))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            fault = fault_of(error)
            if fault is not None:
                connection.send(("error", (type(fault).__name__, fault.message, fault.hint)))
            else:
                connection.send(("bug", traceback.format_exc()))
