"""Memory that a long run on a CPU has freed but still holds, given back to the system."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable

EVERY_SECONDS = 60.0


def _trim_of_the_library() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not


class Heap:
    """What the C library keeps of freed tensors.

    Batches of ever other shapes break it into pieces that are too small for the next one: a model of 4 x 256 whose
    steps need 1.3 GB held 7 GB after half an hour. glibc hands unused pages back when asked, in about a fifth of a
    second, so it is asked once a minute; where the library cannot, nothing happens.
    """

    def __init__(self) -> None:
        self._trim = _trim_of_the_library()
        self._asked = time.monotonic()

    def tidy(self) -> None:
        """To be called after every step."""
        now = time.monotonic()
        if self._trim is None or now - self._asked < EVERY_SECONDS:
            return
        self._trim(0)
        self._asked = now
