"""Messages of a job: the command line passes its console, a program may pass `Silent`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol


class Progress(Protocol):
    """How far a job is."""

    def update(self, completed: int | None = None, *, advance: int = 0, **values: float | str) -> None:
        """Set or advance the count, and show the latest values beside it."""
        ...

    def aside(self, name: str, *, left: int) -> AbstractContextManager[None]:
        """Around what interrupts the counted work, such as an evaluation; so many of that name will follow."""
        ...


class Messages(Protocol):
    """What a job prints for people; its product is what the function returns."""

    def note(self, text: str) -> None:
        """Something people should know."""
        ...

    def detail(self, text: str) -> None:
        """A note that is shown only with --verbose."""
        ...

    def hint(self, text: str) -> None:
        """What to try next."""
        ...

    def warn(self, text: str) -> None:
        """Something that is probably not meant so."""
        ...

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Figures in columns."""
        ...

    def progress(self, total: int | None, description: str, *, initial: int = 0) -> AbstractContextManager[Progress]:
        """A bar, or lines, for as long as the context lasts."""
        ...

    def log_to(self, path: str | Path) -> None:
        """Keep all of it in this file too, from now on."""
        ...


class Silent:
    """Says nothing: for programs, and for every process of a group but the first."""

    def note(self, text: str) -> None:
        """Nothing, as all of these."""

    def detail(self, text: str) -> None:
        """Nothing."""

    def hint(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Nothing."""

    def update(self, completed: int | None = None, *, advance: int = 0, **values: float | str) -> None:
        """Nothing."""

    def log_to(self, path: str | Path) -> None:
        """Nothing."""

    @contextmanager
    def aside(self, name: str, *, left: int) -> Iterator[None]:
        """Nothing."""
        del name, left
        yield

    @contextmanager
    def progress(self, total: int | None, description: str, *, initial: int = 0) -> Iterator[Progress]:
        """No bar."""
        yield self
