"""Rows with a source and the target that is to be written from it, such as a text and its title."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nlpx.data.rows.in_splits import read_in_splits, read_items
from nlpx.data.rows.reading import Row, RowReport, Shape, bad_row
from nlpx.data.rows.splits import Paths, Split, SplitFile, Splits


@dataclass(frozen=True, slots=True)
class SourceTarget:
    """One row; `target` is None if not given."""

    source: str
    target: str | None
    split: Split | None
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PairFields:
    """Names of the fields: of the only text that is read, and of the one that is to be written."""

    texts: tuple[str, ...] = ("source",)
    target: str = "target"

    @property
    def source(self) -> str:
        """The name of the text that is read."""
        return self.texts[0]

    def shape(self, *, keep_empty: bool = False) -> Shape:
        """How rows may come without names: lines `source<TAB>target`."""
        names = (self.source, self.target)
        return Shape({2: names}, names, keep_empty, rows_if_unsure=(2,))


def read_splits(data: Paths, fields: PairFields, **options: Any) -> Splits[SourceTarget]:
    """Read train, dev and test rows; `options` are those of `read_in_splits`. Test rows need no target.

    Raises InputError for rows without texts, empty ones, and where there is nothing to train on.
    """

    def parse(row: Row, split: Split | None) -> Iterator[SourceTarget]:
        source = _filled(row, fields.source)
        needs_target = split != "test" or fields.target in row.values
        yield SourceTarget(source, _filled(row, fields.target) if needs_target else None, split, row.values)

    shape = fields.shape()
    return read_in_splits(data, parse, shape=shape, key=_source, items="rows", key_name="source", **options)


def read_sources(data: str, fields: PairFields, *, report: RowReport, **options: Any) -> Iterator[SourceTarget]:
    """Yield the rows of `data` in file order, in constant memory; every plain line is a source.

    What a row may have as a target is not looked at. Raises InputError.
    """

    def parse(row: Row, _: Split | None) -> Iterator[SourceTarget]:
        is_line = set(row.values) == {"text"} and fields.source != "text"
        source = row.values["text"] if is_line else _text(row, fields.source)
        report.num_without_text += not source.strip()
        yield SourceTarget(source, None, None, row.values)

    shape = fields.shape(keep_empty=True)
    return (row for _, row in read_items([SplitFile(data)], parse, shape=shape, report=report, **options))


def _source(row: SourceTarget) -> str:
    return row.source


def _filled(row: Row, name: str) -> str:
    text = _text(row, name)
    if not text.strip():
        raise bad_row(row.place, f"`{name}` is empty", row=row.values)
    return text


def _text(row: Row, name: str) -> str:
    if name not in row.values:
        hint = f"its fields: {', '.join(row.values) or 'none'}; --field names others, that of the source first"
        raise bad_row(row.place, f"lacks the field `{name}`", row=row.values, hint=hint)
    value = row.values[name]
    if not isinstance(value, str):
        raise bad_row(row.place, f"field `{name}` is not a text", row=row.values)
    return value
