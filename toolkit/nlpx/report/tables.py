"""Tables as plain text or Markdown, aligned also where Chinese characters take two columns of a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the field it shows, its title (default: the field), and how numbers are written.

    `digits` fixes the decimals of a float; with `percent` a share is shown as per cent. Numbers stand to the right.
    """

    name: str
    title: str | None = None
    digits: int = 4
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns, with a sentence above and one below, as a task gives them to a report."""

    rows: Sequence[Mapping[str, Any]]
    columns: Sequence[Column | str]
    above: str = ""
    below: str = ""

    def markdown(self) -> str:
        """The sentences and the table, blank lines between."""
        return "\n\n".join(filter(None, (self.above, render(self.rows, self.columns, form="markdown"), self.below)))


def render(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column | str],
    *,
    form: Literal["plain", "markdown"] = "plain",
) -> str:
    """Return the table as lines without a trailing newline; a missing or None value is shown as a dash."""
    chosen = [Column(column) if isinstance(column, str) else column for column in columns]
    cells = [[_cell(row.get(column.name), column) for column in chosen] for row in rows]
    titles = [column.title or column.name for column in chosen]
    right = [_is_numeric([row.get(column.name) for row in rows]) for column in chosen]
    if form == "markdown":
        titles, cells = _escaped(titles), [_escaped(row) for row in cells]
    widths = [max(map(display_width, values)) for values in zip(titles, *cells, strict=True)]
    rule = [_rule(width, to_right, form) for width, to_right in zip(widths, right, strict=True)]
    body = [rule, *(_aligned(row, widths, right) for row in cells)]
    return "\n".join(_line(row, form) for row in [_aligned(titles, widths, right), *body])


def display_width(text: str) -> int:
    """Return the columns a text takes in a terminal: two for a wide character, none for a combining mark."""
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cell(value: object, column: Column) -> str:
    if value is None:
        return ABSENT
    if column.percent and isinstance(value, (int, float)):
        return f"{100 * value:.1f} %"
    if isinstance(value, float):
        return f"{value:.{column.digits}f}"
    # A line break would end the row.
    return " ".join(str(value).splitlines())


def _is_numeric(values: Sequence[object]) -> bool:
    given = [value for value in values if value is not None]
    return bool(given) and all(isinstance(value, (int, float)) for value in given)


def _escaped(row: list[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in row]


def _rule(width: int, to_right: bool, form: str) -> str:
    if form == "plain":
        return "-" * width
    # Markdown wants three characters at least; the colon marks alignment to the right.
    return "-" * (max(width, 3) - 1) + (":" if to_right else "-")


def _aligned(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    padding = [" " * (width - display_width(cell)) for cell, width in zip(row, widths, strict=True)]
    return [pad + cell if side else cell + pad for cell, pad, side in zip(row, padding, right, strict=True)]


def _line(row: Sequence[str], form: str) -> str:
    return f"| {' | '.join(row)} |" if form == "markdown" else "  ".join(row).rstrip()
