"""Rows with a source and the target that is to be written from it, such as a text and its title."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nlpx.data.rows.reading import OnBadRow, Row, RowReport, Shape, bad_row, read_rows
from nlpx.data.rows.splits import (
    Paths,
    Split,
    SplitFile,
    Splits,
    files_of,
    hold_out,
    name_of,
    note_taken,
    row_files,
    split_of,
)
from nlpx.errors import InputError


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


def read_splits(
    data: Paths,
    fields: PairFields,
    *,
    dev: Paths = (),
    test: Paths = (),
    encoding: str = "utf-8",
    format: str | None = None,
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
) -> Splits[SourceTarget]:
    """Read train, dev and test rows of files, URLs, stdin (`-`), and of a folder's files of rows.

    Splits are told as for labelled rows. Without a dev part a tenth of the training rows becomes one, by a hash of the
    source. Test rows need no target. Raises InputError for rows that do not fit, empty texts, and no training rows.
    """
    parts: dict[Split, list[SourceTarget]] = {"train": [], "dev": [], "test": []}
    taken: Counter[tuple[Split, str]] = Counter()
    report = RowReport() if report is None else report
    files = files_of(data, dev, test, in_folder=row_files)
    options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
    for file, row in _read(files, fields, **options):
        parts[row.split or "train"].append(row)
        taken[row.split or "train", name_of(file.path)] += 1
    splits = Splits(parts["train"], parts["dev"], parts["test"])
    if not splits.train:
        first = f"; the first bad row: {report.errors[0]}" if report.errors else ""
        hint = "training rows have `split` = train or no `split` at all"
        raise InputError(f"{name_of(data)} holds no training rows{first}", hint=hint)
    splits.notes.append(note_taken(taken, "rows"))
    if not splits.dev:
        hold_out(splits, lambda row: row.source, items="rows", key_name="source")
    splits.notes += _known_sources(splits)
    return splits


def read_sources(
    data: str,
    fields: PairFields,
    *,
    encoding: str = "utf-8",
    format: str | None = None,
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
) -> Iterator[SourceTarget]:
    """Yield the rows of `data` in file order, in constant memory; every plain line is a source. Raises InputError."""
    report = RowReport() if report is None else report
    options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
    return (row for _, row in _read([SplitFile(data)], fields, **options, is_training=False))


def _read(
    files: Sequence[SplitFile],
    fields: PairFields,
    *,
    encoding: str,
    format: str | None,
    on_bad_row: OnBadRow,
    report: RowReport,
    is_training: bool = True,
) -> Iterator[tuple[SplitFile, SourceTarget]]:
    shape = fields.shape(keep_empty=not is_training)
    options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
    for file in files:
        for row in read_rows(file.path, **options, shape=shape):
            try:
                found = _trained(row, fields, file) if is_training else _asked(row, fields)
            except InputError as error:
                if on_bad_row == "fail":
                    raise
                report.add_skipped(error)
            else:
                report.num_without_text += not found.source.strip()
                yield file, found


def _trained(row: Row, fields: PairFields, file: SplitFile) -> SourceTarget:
    split = file.split if file.is_chosen else split_of(row) or file.split
    source = _filled(row, fields.source, "source_field")
    needs_target = split != "test" or fields.target in row.values
    target = _filled(row, fields.target, "target_field") if needs_target else None
    return SourceTarget(source, target, split, row.values)


def _asked(row: Row, fields: PairFields) -> SourceTarget:
    """A row to write a target for; what it may have as a target is not looked at."""
    is_line = set(row.values) == {"text"} and fields.source != "text"
    source = row.values["text"] if is_line else _text(row, fields.source, "source_field")
    return SourceTarget(source, None, None, row.values)


def _filled(row: Row, name: str, option: str) -> str:
    text = _text(row, name, option)
    if not text.strip():
        raise bad_row(row.place, f"`{name}` is empty", row=row.values)
    return text


def _text(row: Row, name: str, option: str) -> str:
    if name not in row.values:
        hint = f"its fields: {', '.join(row.values) or 'none'}; --set task_options.{option}=NAME names another"
        raise bad_row(row.place, f"lacks the field `{name}`", row=row.values, hint=hint)
    value = row.values[name]
    if not isinstance(value, str):
        raise bad_row(row.place, f"field `{name}` is not a text", row=row.values)
    return value


def _known_sources(splits: Splits[SourceTarget]) -> Iterator[str]:
    trained = {row.source for row in splits.train}
    for name, rows in (("dev", splits.dev), ("test", splits.test)):
        num_known = sum(row.source in trained for row in rows)
        if num_known:
            yield f"{num_known:,} of {len(rows):,} {name} rows have the source of a training row: their score flatters"
