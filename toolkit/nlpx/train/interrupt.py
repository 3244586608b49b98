"""Ctrl-C once: finish the step, save, leave. Ctrl-C twice: leave at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

# torchrun passes on a Ctrl-C that the terminal has already sent to every process: that is still the first
# one.
ECHO_SECONDS = 1.0


class InterruptGuard:
    """Turns the first interrupt into `requested = True`, and the second into `KeyboardInterrupt`.

    A context manager; the handlers found on entry are restored on exit. Outside the main thread, where
    Python allows no handlers, it does nothing. `on_request` is called at the first interrupt, to tell the
    user what happens now.
    """

    def __init__(self, on_request: Callable[[], None] | None = None) -> None:
        self.requested = False
        self._on_request = on_request
        self._echo_until = 0.0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested and time.monotonic() >= self._echo_until:
            raise KeyboardInterrupt
        if self.requested:
            return
        self.requested = True
        if "WORLD_SIZE" in os.environ:
            self._echo_until = time.monotonic() + ECHO_SECONDS
        if self._on_request is not None:
            self._on_request()
