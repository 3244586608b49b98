"""Counting on a Dask cluster: the same items, read by its workers from paths or URLs that all of them can open.

An item of the cluster is a group of ours; what comes back is the group's portion and its runs as bytes. Dask runs a
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
from nlpx.counting.work import WorkItem, read_item
from nlpx.dask_client import connect
from nlpx.data.opening.remote import is_url
from nlpx.errors import MachineError, install_hint

_GROUP_BYTES = 64 << 20  # of input: enough that sending a result costs little beside counting
_GROUPS_PER_WORKER = 4  # at least, so that slow workers do not hold up the end
# Groups under way for each thread of the cluster: results wait there in memory until they are fetched.
_GROUPS_AHEAD = 2


class Group(NamedTuple):
    """What a group of items gave: its portion, the content of the runs, and what segmented the texts."""

    portion: Portion
    contents: tuple[bytes, ...]
    segmenter: str


def count_group(items: Sequence[WorkItem], settings: CountSettings) -> Group:
    """Count some items, on a worker of the cluster. Raises what counting raises."""
    with TemporaryDirectory(prefix="nlpx-group-") as name:
        counter = PortionCounter(settings, Path(name), read_item, name=f"group-{items[0].index}")
        for item in items:
            counter.count(item, on_bytes=_ignore)
        portion = counter.finish_portion()
        contents = tuple((Path(name) / run).read_bytes() for run in portion.runs)
        return Group(portion, contents, counter.segmenter)


def portions_from_cluster(
    items: Sequence[WorkItem], settings: CountSettings, folder: Path, on_bytes: OnBytes
) -> Iterator[tuple[Portion, str]]:
    """Yield the portions of all items, their runs written to `folder`, and what segmented the texts.

    Raises the error of an item, and MachineError without the packages, without an answer from the scheduler, and for a
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
        waiting = iter(_groups([_everywhere(item) for item in items], num_threads))
        places: dict[Any, list[WorkItem]] = {}

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
            on_bytes(sum(item.num_bytes for item in group))
            yield _kept(found, folder), found.segmenter


def _kept(found: Group, folder: Path) -> Portion:
    for name, content in zip(found.portion.runs, found.contents, strict=True):
        with spilling_to(folder / name) as stream:
            stream.write(content)
    return found.portion


def _groups(items: Sequence[WorkItem], num_threads: int) -> Iterator[list[WorkItem]]:
    total = sum(item.num_bytes for item in items)
    most = min(_GROUP_BYTES, total // (num_threads * _GROUPS_PER_WORKER))
    group: list[WorkItem] = []
    size = 0
    for item in items:
        group.append(item)
        size += item.num_bytes
        if size >= most:
            yield group
            group, size = [], 0
    if group:
        yield group


def _everywhere(item: WorkItem) -> WorkItem:
    """The item with a path that does not depend on a process's own folder."""
    source = item.block.source
    if is_url(source.path):
        return item
    return replace(item, block=replace(item.block, source=replace(source, path=os.path.abspath(source.path))))  # noqa: PTH100


def _ignore(_: int) -> None:
    pass
