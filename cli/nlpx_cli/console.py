"""All output goes through one object: the product to stdout, everything for people to stderr, in one of three modes.

*text* is for people. *json* gives rows as JSON lines, a result as one object, errors and warnings as one object each on
stderr. *quiet* gives the single most useful value and nothing but errors on stderr. Every message is also
written to the run's log, in every mode, without control codes.
"""

from __future__ import annotations

import os
import sys
import unicodedata
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TextIO

from nlpx import notes
from nlpx.aliases import with_names
from nlpx_cli.progress import Progress
from nlpx_cli.terminal import clean

if TYPE_CHECKING:
    from pathlib import Path


class Console:
    """The output of a command; `Console.current` is the latest one made, which also prints its errors."""

    current: ClassVar[Console | None] = None

    def __init__(self, *, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.mode: Literal["text", "json", "quiet"] = "json" if json else "quiet" if quiet else "text"
        self.verbose = verbose
        self._warned: set[str] = set()
        self._log: TextIO | None = None
        self._before_log: deque[str] = deque(maxlen=100)  # messages before the run had a folder
        self._progress: Progress | None = None
        Console.current = self
        # Of several processes that read the same files one tells what it decided.
        listener = self.note if os.environ.get("RANK", "0") == "0" else None
        notes.listen(listener, with_bars=listener is not None and self._shows_bars())
        warnings.showwarning = self._library_warning  # type: ignore[assignment]

    def note(self, text: str) -> None:
        """Print a note on stderr."""
        self._emit(text, shown=self.mode == "text")

    def detail(self, text: str) -> None:
        """Print a note that only --verbose shows."""
        self._emit(text, shown=self.mode == "text" and self.verbose)

    def hint(self, text: str) -> None:
        """Print what to try next, on stderr."""
        self.note(f"Next: {text}")

    def warn(self, text: str) -> None:
        """Warn on stderr, the same words only once."""
        if text in self._warned:
            return
        self._warned.add(text)
        if self.mode == "json":
            self._write(_json({"warning": text}))
        self._emit(f"Warning: {text}", shown=self.mode == "text")

    def error(self, message: str, *, hint: str | None = None, exit_code: int = 1) -> None:
        """Print on stderr what ended the command: one `Error:` line per unindented line of `message`, then the hint."""
        lines = [line if line.startswith(" ") else f"Error: {line}" for line in message.splitlines()]
        lines += [f"  {line}" for line in (hint or "").splitlines()]
        if self.mode == "json":
            self._write(_json({"error": message, "hint": hint, "exit": exit_code}))
        self._emit("\n".join(lines), shown=self.mode != "json")

    def result(self, data: Mapping[str, Any], *, value: object) -> None:
        """The product of a command that has one: `value` alone, or all of `data` in json mode."""
        self._print(_json(data) if self.mode == "json" else str(value))

    def rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """The product of a command that makes rows: JSON lines, each flushed, since rows may be slow to come."""
        for row in rows:
            self._print(_json(row))
            sys.stdout.flush()

    def listing(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table that is the product: aligned columns, JSON lines, or (quiet) the first column."""
        if self.mode == "json":
            self.rows(rows)
        elif self.mode == "quiet":
            for row in rows:
                self._print(_cell(next(iter(row.values()))))
        elif rows:
            self._print(_aligned(list(rows[0]), [list(row.values()) for row in rows]))

    def text(self, text: str) -> None:
        """A text that is the product, such as YAML."""
        self._print(text.removesuffix("\n"))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table for people, on stderr."""
        self.note(_aligned(columns, rows))

    @contextmanager
    def progress(self, total: int | None, description: str, *, initial: int = 0) -> Iterator[Progress]:
        """A bar on stderr if that is a terminal, else a plain line every 10 seconds or 5 %; off in json and quiet."""
        with_bar = self._shows_bars()
        plain_lines = self.mode == "text" and not with_bar

        def write_line(text: str) -> None:
            self._emit(text, shown=plain_lines)

        self._progress = Progress(total, description, initial=initial, bar=with_bar, write_line=write_line)
        try:
            with self._progress:
                yield self._progress
        finally:
            self._progress = None

    def log_to(self, path: str | Path) -> None:
        """Append all messages to this file, those so far included."""
        if self._log is not None:
            self._log.close()
        self._log = open(path, "a", encoding="utf-8", buffering=1)  # noqa: PTH123, SIM115 - open until the end
        self._log.writelines(f"{text}\n" for text in self._before_log)
        self._before_log.clear()

    def _shows_bars(self) -> bool:
        return self.mode == "text" and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def _emit(self, text: str, *, shown: bool) -> None:
        text = clean(with_names(text))
        if shown:
            self._write(text)
        if self._log is not None:
            self._log.write(text + "\n")
        else:
            self._before_log.append(text)

    def _write(self, text: str) -> None:
        text = clean(with_names(text))
        if self._progress is not None and self._progress.write_above(text):
            return
        print(text, file=sys.stderr, flush=True)

    def _print(self, text: str) -> None:
        print(text, file=sys.stdout)

    def _library_warning(self, message: Warning | str, category: type[Warning] = Warning, *_: Any) -> None:
        from nlpx.errors import ShownWarning

        if issubclass(category, ShownWarning):
            self.warn(str(message))
            return
        # Libraries address their programmers: the log keeps it, the screen shows it with --verbose only.
        self._emit(f"Warning: {message}", shown=self.mode == "text" and self.verbose)


def _json(data: Mapping[str, Any]) -> str:
    from json import dumps

    return dumps(data, ensure_ascii=False, default=str)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _aligned(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    table = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(_width(row[column]) for row in table) for column in range(len(columns))]
    lines = (
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)) for row in table
    )
    return "\n".join(line.rstrip() for line in lines)


def _width(text: str) -> int:
    """Columns on a terminal: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
