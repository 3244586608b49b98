"""Moments on a Dask cluster: its workers sum ranges of rows from paths that all of them can open.

The ranges and the order of their sum are those of one process, so that the result is its result. Dask runs a range
again whose worker was lost, and its sum is taken once.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from nlpx.dask_client import connect
from nlpx.embed.fitting import Range, Tensors, tensors_of
from nlpx.errors import MachineError, install_hint

_AHEAD = 2  # ranges under way for each thread of the cluster: their sums wait there in memory


def tensors_from_cluster(parts: Sequence[Range], scheduler: str | None) -> Generator[Tensors, None, None]:
    """Yield what `tensors_of` gives for each range, in order; without a scheduler a cluster of this machine's cores.

    Raises the error of a range, and MachineError without the packages, without an answer from the scheduler, and for
    a range whose workers died again and again.
    """
    try:
        from distributed import KilledWorker
    except ImportError:
        raise MachineError("summing on a cluster needs the extra `cluster`", hint=install_hint("cluster")) from None
    with connect(scheduler, num_workers=os.cpu_count() or 1) as client:
        waiting = iter([_everywhere(part) for part in parts])
        futures: deque[Any] = deque()

        def submit(number: int) -> None:
            futures.extend(client.submit(tensors_of, part, pure=False) for part in islice(waiting, number))

        submit(_AHEAD * max(1, sum(client.nthreads().values())))
        for part in parts:
            try:
                found = futures.popleft().result()
            except KilledWorker:
                what = f"{part.file.name}: the workers of the cluster that read it died one after another"
                raise MachineError(what, hint="was their memory used up? see the logs of the cluster") from None
            submit(1)
            yield found


def _everywhere(part: Range) -> Range:
    """The range with a path that does not depend on a process's own folder."""
    return part._replace(file=replace(part.file, path=os.path.abspath(part.file.path)))  # noqa: PTH100
