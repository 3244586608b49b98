"""Making shards in this process or in several; a process that dies is noticed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING

from nlpx.data.corpus.flatten import Counts, Flattener
from nlpx.data.corpus.pieces import Reading
from nlpx.data.shards.files import finished_counts, write_shard
from nlpx.data.shards.jobs import Job
from nlpx.errors import MachineError

if TYPE_CHECKING:
    from nlpx.tokenizers.base import Tokenizer

_JOBS_WAITING = 2  # for each worker: more hold texts in memory for nothing


@dataclass(frozen=True)
class Order:
    """What all jobs of a build have in common."""

    folder: Path
    tokenizer: Tokenizer
    reading: Reading
    whole_words: bool


def make_shards(jobs: Iterable[Job], order: Order, *, workers: int) -> Iterator[tuple[str, Counts]]:
    """Name and counts of each shard as it is finished; those an earlier build finished are not made again.

    Raises MachineError if a worker process dies; every finished shard stays.
    """
    if workers <= 1:
        yield from _here(jobs, order)
        return
    jobs = iter(jobs)
    first = list(islice(jobs, 2))
    if len(first) < 2:  # done before a second process has started
        yield from _here(first, order)
    else:
        yield from _elsewhere(chain(first, jobs), order, workers)


def _here(jobs: Iterable[Job], order: Order) -> Iterator[tuple[str, Counts]]:
    flatten: Flattener | None = None
    for job in jobs:
        found = finished_counts(order.folder / job.name)
        if found is None:
            flatten = flatten or Flattener(order.tokenizer, whole_words=order.whole_words)
            found = _make(job, order, flatten)
        yield job.name, found


def _make(job: Job, order: Order, flatten: Flattener) -> Counts:
    arrays, counts = flatten(job.read(order.reading))
    write_shard(order.folder / job.name, arrays, counts)
    return counts


def _elsewhere(jobs: Iterable[Job], order: Order, workers: int) -> Iterator[tuple[str, Counts]]:
    # Fresh interpreters: a fork would copy the locks of other threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(order,)) as pool:
        try:
            yield from _in_flight(jobs, order, pool, limit=_JOBS_WAITING * workers)
        except BrokenProcessPool:
            raise MachineError(
                "a process that tokenized the corpus was killed, perhaps for lack of memory",
                hint="run it again: finished shards are kept; `--set data.workers=1` needs the least memory",
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_flight(
    jobs: Iterable[Job], order: Order, pool: ProcessPoolExecutor, *, limit: int
) -> Iterator[tuple[str, Counts]]:
    running: dict[Future[Counts], str] = {}
    for job in jobs:
        found = finished_counts(order.folder / job.name)
        if found is not None:
            yield job.name, found
            continue
        running[pool.submit(_work, job)] = job.name
        while len(running) >= limit:
            yield from _finished(running)
    while running:
        yield from _finished(running)


def _finished(running: dict[Future[Counts], str]) -> Iterator[tuple[str, Counts]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()


_worker: tuple[Order, Flattener]  # of a worker process


def _start(order: Order) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = order, Flattener(order.tokenizer, whole_words=order.whole_words)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)  # a parent that was killed cannot tell its workers to stop


def _work(job: Job) -> Counts:
    return _make(job, *_worker)
