"""Tables: the columns that a first line names or leaves open."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from nlpx.errors import InputError
from nlpx.notes import note

# Of lines without a header, by their number: how the columns are called.
Forms = Mapping[int, tuple[str, ...]]
LABELLED: Forms = {2: ("text", "label"), 3: ("text1", "text2", "label")}
SAMPLE_ROWS = 50
# What people and the published data sets call their columns.
KNOWN_NAMES = frozenset([
    "text", "label", "labels", "class", "category", "split", "id", "idx", "index", "score", "similarity", "text1",
    "text2", "text_a", "text_b", "source", "target", "sentence", "sentence1", "sentence2", "s1", "s2", "q1", "q2",
    "query", "query1", "query2", "question", "question1", "question2", "title", "content", "body", "premise",
    "hypothesis", "review", "text_left", "text_right", "passage", "document", "sent1", "sent2"
])  # fmt: skip


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


def names_columns(cells: Sequence[str], asked: Collection[str] = ()) -> bool:
    """Whether all of several cells are known names of columns, which no text is."""
    known = KNOWN_NAMES | {name.lower() for name in asked}
    return len(cells) > 1 and all(cell.strip().strip('"').lower() in known for cell in cells)


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
