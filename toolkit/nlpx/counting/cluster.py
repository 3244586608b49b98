"""Counting on a Dask cluster: the same tasks, read by its workers from paths or URLs that all of them can open.

A task of the cluster is a group of ours; what comes back is the group's portion and its runs as bytes. Dask runs a
group again whose worker was lost, and its result is taken once, so that the counts stay exact.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from nlpx.counting.portions import OnBytes, Portion, PortionCounter
from nlpx.counting.runs import spilling_to
from nlpx.counting.settings import CountSettings
from nlpx.counting.tasks import Task, read_task
from nlpx.dask_client import connect
from nlpx.data.opening.remote import is_url
from nlpx.errors import MachineError, install_hint

_GROUP_BYTES = 64 << 20
_GROUPS_PER_WORKER = 4
# Groups under way for each thread of the cluster: results wait there in memory until they are fetched.
_GROUPS_AHEAD = 2


class Group(NamedTuple):
    """What a group of tasks gave: its portion, the content of the runs, and what segmented the texts."""

    portion: Portion
    contents: tuple[bytes, ...]
    segmenter: str


def count_group(tasks: Sequence[Task], settings: CountSettings) -> Group:
    """Count some tasks, on a worker of the cluster. Raises what counting raises."""
    with TemporaryDirectory(prefix="nlpx-group-") as name:
        counter = PortionCounter(settings, Path(name), read_task, name=f"group-{tasks[0].index}")
        for task in tasks:
            counter.count(task, on_bytes=_ignore)
        portion = counter.hand_over()
        contents = tuple((Path(name) / run).read_bytes() for run in portion.runs)
        return Group(portion, contents, counter.segmenter)


def portions_from_cluster(
    tasks: Sequence[Task], settings: CountSettings, folder: Path, on_bytes: OnBytes
) -> Iterator[tuple[Portion, str]]:
    """Yield the portions of all tasks, their runs written to `folder`, and what segmented the texts.

    Raises the error of a task, and MachineError without the packages, without an answer from the scheduler, and for a
    group whose workers died again and again.
    """
    try:
        from distributed import KilledWorker, as_completed
    except ImportError:
        raise MachineError("counting on a cluster needs the extra `cluster`", hint=install_hint("cluster")) from None
    with ExitStack() as stack:
        workers = settings.num_workers
        memory = settings.memory // workers
        client = stack.enter_context(connect(settings.scheduler, num_workers=workers, memory_limit=memory))
        num_threads = max(1, sum(client.nthreads().values()))
        waiting = iter(_groups([_everywhere(task) for task in tasks], num_threads))
        places: dict[Any, list[Task]] = {}

        def submit(number: int) -> list[Any]:
            futures = []
            for group in islice(waiting, number):
                futures.append(client.submit(count_group, group, settings, pure=False))
                places[futures[-1].key] = group
            return futures

        stream = as_completed(submit(num_threads * _GROUPS_AHEAD))
        for future in stream:
            group = places.pop(future.key)
            try:
                found: Group = future.result()
            except KilledWorker:
                what = f"{group[0].place}: the workers of the cluster that counted it died one after the other"
                raise MachineError(what, hint="was their memory used up? see the logs of the cluster") from None
            future.release()
            stream.update(submit(1))
            on_bytes(sum(task.num_bytes for task in group))
            yield _kept(found, folder), found.segmenter


def _kept(found: Group, folder: Path) -> Portion:
    for name, content in zip(found.portion.runs, found.contents, strict=True):
        with spilling_to(folder / name) as stream:
            stream.write(content)
    return found.portion


def _groups(tasks: Sequence[Task], num_threads: int) -> Iterator[list[Task]]:
    total = sum(task.num_bytes for task in tasks)
    most = min(_GROUP_BYTES, total // (num_threads * _GROUPS_PER_WORKER))
    group: list[Task] = []
    size = 0
    for task in tasks:
        group.append(task)
        size += task.num_bytes
        if size >= most:
            yield group
            group, size = [], 0
    if group:
        yield group


def _everywhere(task: Task) -> Task:
    """The task with a path that does not depend on a process's own folder."""
    source = task.block.source
    if is_url(source.path):
        return task
    return replace(task, block=replace(task.block, source=replace(source, path=os.path.abspath(source.path))))  # noqa: PTH100


def _ignore(_: int) -> None:
    pass
