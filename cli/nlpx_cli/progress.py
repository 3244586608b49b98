"""How far a long command is: a bar on a terminal, and plain lines for pipes and the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SECONDS = 10.0  # between plain lines
_FRACTION = 0.05  # of the total, between plain lines


class Progress:
    """Counts from `initial` towards `total` (None: unknown). Made by `Console.progress`.

    `write_line` gets a plain line every 10 seconds, and every 5 % where those take longer than a second.
    """

    def __init__(
        self, total: int | None, description: str, *, initial: int = 0, bar: bool, write_line: Callable[[str], None]
    ) -> None:
        self.total = total
        self.description = description
        self.completed = self._initial = self._last_completed = initial
        self._write_line = write_line
        self._start = self._last_time = time.monotonic()
        self._values: dict[str, Any] = {}
        self._asides: dict[str, _Aside] = {}
        self._bar = _rich_bar(description, total, initial, self._remaining) if bar else None

    def update(self, completed: int | None = None, *, advance: int = 0, **values: float | str) -> None:
        """Set or advance the count; `values`, such as loss=0.3 or rate="900 tokens/s", are shown beside it."""
        self.completed = (self.completed if completed is None else completed) + advance
        self._values |= values
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=self.completed, values=self._shown_values(), left=self._remaining()
            )
        if self._is_due():
            self._print_line()

    @contextmanager
    def aside(self, name: str, *, left: int) -> Iterator[None]:
        """Around what interrupts the counted work, such as an evaluation; so many of that name will follow.

        Its time is none of the work's: the time left counts what is left of both by themselves.
        """
        started = time.monotonic()
        try:
            yield
        finally:
            known = self._asides.setdefault(name, _Aside())
            known.seconds += time.monotonic() - started
            known.count += 1
            known.left = left

    def write_above(self, text: str) -> bool:
        """Print above the bar without breaking it; False if there is no bar."""
        if self._bar is None:
            return False
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        return True

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self.completed != self._last_completed:
            self._print_line()

    def _is_due(self) -> bool:
        if self.total is not None and self.completed - self._last_completed >= max(1, self.total * _FRACTION):
            return time.monotonic() - self._last_time >= 1
        return time.monotonic() - self._last_time >= _SECONDS

    def _print_line(self) -> None:
        count = f"{self.completed}/{self.total}" if self.total is not None else str(self.completed)
        parts = [f"{self.description} {count}", self._shown_values(), self._remaining()]
        self._write_line("  ".join(part for part in parts if part))
        self._last_time, self._last_completed = time.monotonic(), self.completed

    def _shown_values(self) -> str:
        shown = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in self._values.values())
        return "  ".join(f"{name} {value}" for name, value in zip(self._values, shown, strict=True))

    def _remaining(self) -> str:
        done = self.completed - self._initial  # what was there before took none of this time
        if self.total is None or done <= 0:
            return ""
        asides = self._asides.values()
        working = time.monotonic() - self._start - sum(aside.seconds for aside in asides)
        to_come = sum(aside.seconds / aside.count * aside.left for aside in asides)
        seconds = round(working / done * (self.total - self.completed) + to_come)
        return f"{seconds // 60}:{seconds % 60:02d} left"


class _Aside:
    """Interruptions of one kind: the seconds they took, how many there were, and how many are to come."""

    # By hand: `dataclasses` would take longer to import than a small file takes to count.
    def __init__(self) -> None:
        self.seconds = 0.0
        self.count = self.left = 0


def _rich_bar(description: str, total: int | None, initial: int, remaining: Callable[[], str]) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}")
    bar = Progress(*columns, TextColumn("{task.fields[values]}"), console=Console(stderr=True), refresh_per_second=4)
    bar.add_task(description, total=total, completed=initial, values="", left=remaining())
    return bar
