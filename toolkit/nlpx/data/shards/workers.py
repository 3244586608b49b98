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
from nlpx.data.shards.work import WorkItem
from nlpx.errors import MachineError

if TYPE_CHECKING:
    from nlpx.tokenizers.base import Tokenizer

_ITEMS_WAITING = 2  # for each worker: more hold texts in memory for nothing


@dataclass(frozen=True)
class BuildSettings:
    """What all shards of a build have in common; each worker process receives it once."""

    folder: Path
    tokenizer: Tokenizer
    reading: Reading
    whole_words: bool


def make_shards(items: Iterable[WorkItem], settings: BuildSettings, *, workers: int) -> Iterator[tuple[str, Counts]]:
    """Name and counts of each shard as it is finished; those an earlier build finished are not made again.

    Raises MachineError if a worker process dies; every finished shard stays.
    """
    if workers <= 1:
        yield from _here(items, settings)
        return
    items = iter(items)
    first = list(islice(items, 2))
    if len(first) < 2:  # done before a second process has started
        yield from _here(first, settings)
    else:
        yield from _elsewhere(chain(first, items), settings, workers)


def _here(items: Iterable[WorkItem], settings: BuildSettings) -> Iterator[tuple[str, Counts]]:
    flatten: Flattener | None = None
    for item in items:
        found = finished_counts(settings.folder / item.name)
        if found is None:
            flatten = flatten or Flattener(settings.tokenizer, whole_words=settings.whole_words)
            found = _make(item, settings, flatten)
        yield item.name, found


def _make(item: WorkItem, settings: BuildSettings, flatten: Flattener) -> Counts:
    arrays, counts = flatten(item.read(settings.reading))
    write_shard(settings.folder / item.name, arrays, counts)
    return counts


def _elsewhere(items: Iterable[WorkItem], settings: BuildSettings, workers: int) -> Iterator[tuple[str, Counts]]:
    # Fresh interpreters: a fork would copy the locks of other threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(settings,)) as pool:
        try:
            yield from _in_flight(items, settings, pool, limit=_ITEMS_WAITING * workers)
        except BrokenProcessPool:
            raise MachineError(
                "a process that tokenized the corpus was killed, perhaps for lack of memory",
                hint="run it again: finished shards are kept; `--set data.workers=1` needs the least memory",
            ) from None
        finally:
            # An interrupt or a death is passed on at once: waiting for items that no one will use would delay it.
            pool.shutdown(wait=False, cancel_futures=True)


def _in_flight(
    items: Iterable[WorkItem], settings: BuildSettings, pool: ProcessPoolExecutor, *, limit: int
) -> Iterator[tuple[str, Counts]]:
    running: dict[Future[Counts], str] = {}
    for item in items:
        found = finished_counts(settings.folder / item.name)
        if found is not None:
            yield item.name, found
            continue
        running[pool.submit(_work, item)] = item.name
        # The pool itself queues without a bound; so reading waits while enough items are under way.
        while len(running) >= limit:
            yield from _finished(running)
    while running:
        yield from _finished(running)


def _finished(running: dict[Future[Counts], str]) -> Iterator[tuple[str, Counts]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()


_worker: tuple[BuildSettings, Flattener]  # of a worker process


def _start(settings: BuildSettings) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = settings, Flattener(settings.tokenizer, whole_words=settings.whole_words)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)  # a parent that was killed cannot stop its workers


def _work(item: WorkItem) -> Counts:
    return _make(item, *_worker)
