"""A Dask cluster to work on: that of a scheduler, or one of this machine's cores."""

from __future__ import annotations

from typing import Any

from nlpx.errors import MachineError

TIMEOUT = "20s"


def connect(scheduler: str | None, *, num_workers: int, memory_limit: int | str = "auto") -> Any:
    """A `distributed.Client`, to be closed; without a scheduler, of so many processes with so many bytes each.

    Raises MachineError if no scheduler answers.
    """
    from distributed import Client

    if scheduler is None:
        # Port 0: any free one, for another cluster may have the usual one.
        return Client(n_workers=num_workers, threads_per_worker=1, memory_limit=memory_limit, dashboard_address=":0")
    try:
        return Client(scheduler, timeout=TIMEOUT)
    except (OSError, ValueError) as error:
        what = f"no Dask scheduler answers at {scheduler}"
        raise MachineError(what, hint="check the address, such as tcp://host:8786") from error
