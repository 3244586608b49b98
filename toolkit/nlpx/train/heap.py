"""Memory that a long run on a CPU has freed but still holds, given back to the system."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

GROWTH = 2.0  # of the process since the last time: asking earlier costs more than it frees
SECONDS_BETWEEN = 20.0  # at least, because returned pages cost time when they are used again
_RESIDENT_PAGES = Path("/proc/self/statm")


def _trim_of_the_library() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not


def resident_bytes() -> int:
    """Of this process, on Linux."""
    return int(_RESIDENT_PAGES.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Heap:
    """Returns to the system what the C library keeps of freed tensors.

    Batches of changing shapes fragment it into pieces that are too small for the next one: a model of 4 x 256 whose
    steps need 1.3 GB came to hold 7 GB. glibc hands unused pages back when asked, which costs some tenths of a second
    until they are in use again; so it is asked when the process has doubled since the step after the last time, and
    not too often. Where the library cannot, nothing happens.
    """

    def __init__(self) -> None:
        self._trim = _trim_of_the_library()
        self._asked = time.monotonic()
        self._needed: int | None = None  # bytes, after the first step

    def tidy(self) -> None:
        """To be called after every step."""
        if self._trim is None:
            return
        if self._needed is None:
            self._needed = resident_bytes()
        elif time.monotonic() - self._asked >= SECONDS_BETWEEN and resident_bytes() > GROWTH * self._needed:
            self._trim(0)
            self._asked, self._needed = time.monotonic(), None
