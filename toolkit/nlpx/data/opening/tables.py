"""Tables: the columns that a first line names or leaves open, and CSV that never swallows rows.

A quote that is opened by mistake makes every line up to the next quote one cell. Strict reading finds most such
quotes, names the line in which the cell began, and, where bad rows are left out, leaves out that line alone.
"""

from __future__ import annotations

import csv
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from nlpx.errors import InputError
from nlpx.notes import note

# Of lines without a header, by their number: how the columns are called.
Forms = Mapping[int, tuple[str, ...]]
LABELLED: Forms = {2: ("text", "label"), 3: ("text1", "text2", "label")}
SAMPLE_ROWS = 50
QUOTE_HINT = 'inside a cell a quote is written twice, and the cell is quoted: "said ""yes"""'
# What people and the published data sets call their columns.
KNOWN_NAMES = frozenset([
    "text", "label", "labels", "class", "category", "split", "id", "idx", "index", "score", "similarity", "text1",
    "text2", "text_a", "text_b", "source", "target", "sentence", "sentence1", "sentence2", "s1", "s2", "q1", "q2",
    "query", "query1", "query2", "question", "question1", "question2", "title", "content", "body", "premise",
    "hypothesis", "review", "text_left", "text_right", "passage", "document", "sent1", "sent2"
])  # fmt: skip
_MOST_KEPT_LINES = 1000
_START, _PLAIN, _QUOTED, _BEHIND = range(4)


class Columns(NamedTuple):
    """Names of the columns, "" for one without a name, and whether the first line gave them."""

    names: tuple[str, ...]
    has_header: bool

    def row(self, cells: Sequence[str]) -> dict[str, str]:
        """A row by name; what stands in a column without a name is left out."""
        return {name: cell for name, cell in zip(self.names, cells, strict=True) if name}


def columns_of(
    first: Sequence[str],
    following: Sequence[Sequence[str]],
    *,
    name: str,
    place: str,
    forms: Forms,
    asked: Collection[str] = (),
    rows_if_unsure: Collection[int] = (),
) -> Columns:
    """Decide from the first lines of a table whether the first one is a header, and note it if it is none.

    `forms` are the shapes that may come without a header, `asked` names of columns that somebody asked for,
    `rows_if_unsure` the numbers of columns for which a first line of which nothing tells is a row. Raises InputError
    for a header that names a column twice, and for a first line that is a row of no known shape.
    """
    is_named = is_header(first, following, asked)
    if not forms or is_named or (is_named is None and len(first) not in rows_if_unsure):
        return Columns(_named(first, name, place), has_header=True)
    if len(first) not in forms:
        examples = " or ".join("<tab>".join(form) for form in forms.values())
        hint = f"put a first line above it that names the columns, such as {examples}"
        raise InputError(f"{place}: the first line seems to hold a row, not the names of columns", hint=hint)
    names = forms[len(first)]
    if len(names) == 2 and names[1] == "label" and _is_label_first([first, *following]):
        names = names[::-1]
    note(f"{name}: the first line is a row, not a header; its columns are read as {', '.join(names)}")
    return Columns(names, has_header=False)


def is_header(first: Sequence[str], following: Sequence[Sequence[str]], asked: Collection[str] = ()) -> bool | None:
    """Whether a first line names columns: by known names; not if a cell is a number or a value of later rows.

    None if nothing tells.
    """
    cells = [cell.strip().lower() for cell in first]
    known = KNOWN_NAMES | {name.lower() for name in asked}
    if known & set(cells) or cells == [str(number) for number in range(len(cells))]:
        return True
    if cells[0] == "" and all(cells[1:]):  # the index that pandas writes
        return True
    if len(cells) == 1:
        return None
    same = [row for row in following if len(row) == len(first)]
    recurs = any(first[-1] == row[-1] or first[0] == row[0] for row in same)
    return False if recurs or any(map(_is_number, cells)) else None


def _is_number(cell: str) -> bool:
    try:
        return bool(cell) and float(cell) == float(cell)
    except ValueError:
        return False


def _is_label_first(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the values of the first column recur and those of the second do not, in some rows."""
    same = [row for row in rows if len(row) == 2]
    firsts, lasts = ({row[column] for row in same} for column in (0, 1))
    return len(firsts) < len(lasts) and 2 * len(firsts) <= len(same)


def _named(header: Sequence[str], name: str, place: str) -> tuple[str, ...]:
    names = tuple(cell.strip() for cell in header)
    repeated = sorted({cell for cell in names if cell and names.count(cell) > 1})
    if repeated:
        raise InputError(f"{place}: the header names `{repeated[0]}` twice", hint="the first row names the columns")
    if not any(names):
        raise InputError(f"{place}: the header names no column", hint="the first row names the columns")
    unnamed = [str(number) for number, cell in enumerate(names, start=1) if not cell]
    if unnamed:
        note(f"{name}: column {', '.join(unnamed)} has no name and is left out")
    return names


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
            if self._num_lines > 1:
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

    def _broken(self, error: csv.Error) -> None:
        opened = _opening_line([text for _, text in self._row])
        number, text = self._row[opened]
        if "unexpected end of data" in str(error):
            what = "a quote opens a cell that never ends, and the lines after it are taken for its text"
        elif "expected after" in str(error):
            closing = "" if self.number == number else f" in line {self.number}"
            what = f"a quote opens a cell, and text follows the quote that closes it{closing}"
        else:
            what = f"not CSV ({error})"
        self._refuse(number, what, text)
        if self._num_lines > len(self._row):
            hint = "correct this line first"
            raise InputError(f"{self._name}:{number}: {what}, {self._num_lines:,} lines of them", hint=hint)
        self._again.extendleft(reversed(self._row[:opened] + self._row[opened + 1 :]))

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
