"""CSV that never swallows rows.

A quote that is opened by mistake makes every line up to the next quote one cell. Strict reading finds such quotes,
names the line in which the cell began, and, where bad rows are left out, leaves out that line alone.
"""

from __future__ import annotations

import csv
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from nlpx.errors import InputError
from nlpx.notes import note

QUOTE_HINT = 'inside a cell a quote is written twice, and the cell is quoted: "said ""yes"""'
_MOST_KEPT_LINES = _MOST_ENDS = 1000
_LEAST_WIDTH = 2  # of one column every line looks like a row
_START, _PLAIN, _QUOTED, _BEHIND = range(4)


class CsvReader:
    """Iterates over (number of the line it begins on, cells) of the rows of a CSV table; blank lines have no cells.

    `lines` are numbered and without their ends. `refuse` is called with the line in which a broken cell began, what
    is wrong and that line; if it returns, that line alone is left out.
    """

    def __init__(self, lines: Iterator[tuple[int, str]], name: str, refuse: Callable[[int, str, str], None]) -> None:
        self._lines, self._name, self._refuse = lines, name, refuse
        self._again: deque[tuple[int, str]] = deque()
        self._row: list[tuple[int, str]] = []
        self._num_lines = 0
        self._spanning = (0, 0, 0)  # rows over several lines; lines of the longest, and where it begins
        self._width = 0  # of the first row
        self._ends: set[str] = set()  # last cells of the first rows
        self.number = 0  # of the line that was read last

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(sys.maxsize)  # the default, 131,072 characters, is less than a long document
        reader = csv.reader(_Feed(self), strict=True)
        while True:
            self._row.clear()
            self._num_lines = 0
            try:
                cells = next(reader)
            except StopIteration:
                self._note_spanning()
                return
            except csv.Error as error:
                self._broken(error)
                continue
            if self._num_lines == 1:
                self._remember(cells)
            elif self._swallows_rows():
                what = f"a quote opens a cell of {self._num_lines} lines, which look like rows of their own"
                self._refuse_line(0, what)
                continue
            else:
                count, most, place = self._spanning
                longest = max((most, -place), (self._num_lines, -self._row[0][0]))
                self._spanning = (count + 1, longest[0], -longest[1])
            yield self._row[0][0], cells

    def next_line(self) -> str:
        """The next line for the parser, which is remembered until its row is whole."""
        number, text = self._again.popleft() if self._again else next(self._lines)
        self.number = number
        self._num_lines += 1
        if self._num_lines <= _MOST_KEPT_LINES:
            self._row.append((number, text))
        return f"{text}\n"

    def _remember(self, cells: list[str]) -> None:
        self._width = self._width or len(cells)
        if cells and len(self._ends) < _MOST_ENDS:
            self._ends.add(cells[-1])

    def _swallows_rows(self) -> bool:
        """Whether all lines of a cell but its last would be rows that end as others do, as texts hardly ever are.

        That is what a missing quote leaves where the next stray one happens to stand before a comma.
        """
        lines = [text for _, text in self._row[:-1]]
        if not lines or not lines[0].startswith('"'):
            return False
        rows = [line.split(",") for line in (lines[0][1:], *lines[1:])]
        if any(len(cells) != self._width or self._width < _LEAST_WIDTH for cells in rows):
            return False
        ends = {cells[-1] for cells in rows}
        return ends <= self._ends or 2 * len(ends) <= len(rows)

    def _broken(self, error: csv.Error) -> None:
        opened = _opening_line([text for _, text in self._row])
        number = self._row[opened][0]
        if "unexpected end of data" in str(error):
            what = "a quote opens a cell that never ends, and the lines after it are taken for its text"
        elif "expected after" in str(error):
            closing = "" if self.number == number else f" in line {self.number}"
            what = f"a quote opens a cell, and text follows the quote that closes it{closing}"
        else:
            what = f"not CSV ({error})"
        self._refuse_line(opened, what)

    def _refuse_line(self, index: int, what: str) -> None:
        """Refuse a line of the row; where that does not end reading, go on with the other ones."""
        number, text = self._row[index]
        self._refuse(number, what, text)
        if self._num_lines > len(self._row):
            hint = "correct this line first"
            raise InputError(f"{self._name}:{number}: {what}, {self._num_lines:,} lines of them", hint=hint)
        self._again.extendleft(reversed(self._row[:index] + self._row[index + 1 :]))

    def _note_spanning(self) -> None:
        count, most, place = self._spanning
        if count:
            rows = "1 row spans" if count == 1 else f"{count:,} rows span"
            note(f"{self._name}: {rows} several lines, at most {most} (from line {place})")


class _Feed:
    """Lines for the parser; unlike a generator, it can go on after it has ended once."""

    def __init__(self, reader: CsvReader) -> None:
        self._reader = reader

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        return self._reader.next_line()


def _opening_line(lines: Sequence[str]) -> int:
    """The index of the line in which the cell begins that breaks a row."""
    state, opened = _START, 0
    for index, line in enumerate(lines):
        for character in f"{line}\n":
            ends = character in ",\n"
            if state in (_START, _PLAIN):
                quoted = state == _START and character == '"'
                opened = index if quoted else opened
                state = _QUOTED if quoted else _START if ends else _PLAIN
            elif state == _QUOTED:
                state = _BEHIND if character == '"' else _QUOTED
            elif character == '"':
                state = _QUOTED
            elif ends:
                state = _START
            else:
                return opened
    return opened
