"""Rows with a text, or two, and a label of any number of classes: from a file, the files of a folder, or stdin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nlpx.data.rows.reading import FORMAT_OF_SUFFIX, Format, OnBadRow, Row, RowReport, bad_row, format_of, read_rows
from nlpx.data.rows.splits import SPLIT_OF_NAME, Split, Splits, hold_out, split_of
from nlpx.data.rows.text_pairs import TEXT_NAMES
from nlpx.errors import InputError

Label = str | int

# How a row may call its texts where nobody says; the first that fits.
FORMS = (("text",), *TEXT_NAMES)
_MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of fields: of one or two texts (none: those of FORMS that the first row has), and of the label.

    `label=None` leaves labels unread.
    """

    texts: tuple[str, ...] = ()
    label: str | None = "label"

    def settled(self, row: Row) -> Fields:
        """Return names for the texts as well. Raises InputError if the row has none of the forms."""
        if self.texts:
            return self
        for form in FORMS:
            if set(form) <= set(row.values):
                return replace(self, texts=form)
        hint = f"{_its_fields(row)}; --set task_options.text_field=NAME says which is the text"
        raise bad_row(row.place, "has no `text`, and no `text1` and `text2`", row=row.values, hint=hint)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text or two; `second`, `label` and `split` are None if not given."""

    text: str
    second: str | None
    label: Label | None
    place: str
    split: Split | None
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _File:
    path: str | Path
    split: Split | None = None  # of rows that name none


def read_splits(
    data: str | Path,
    fields: Fields | None = None,
    *,
    encoding: str = "utf-8",
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
) -> Splits[Labelled]:
    """Read train, dev and test rows of one file, of stdin (`-`), or of a folder's JSON-lines, CSV and TSV files.

    In a folder, files called train, dev, valid, validation or test say the split of rows that name none themselves.
    Without a dev part a tenth of the training rows becomes one, see `hold_out`. Test rows need no label.
    Raises InputError for rows that do not fit, no training rows, and labels of a single class.
    """
    parts: dict[Split, list[Labelled]] = {"train": [], "dev": [], "test": []}
    report = RowReport() if report is None else report
    files, fields = _files(data), Fields() if fields is None else fields
    for row in _read(files, fields, encoding=encoding, format=None, on_bad_row=on_bad_row, report=report):
        parts[row.split or "train"].append(row)
    splits = Splits(parts["train"], parts["dev"], parts["test"])
    name = "stdin" if str(data) == "-" else str(data)
    if not splits.train:
        first = f"; the first bad row: {report.errors[0]}" if report.errors else ""
        hint = "training rows have `split` = train or no `split` at all"
        raise InputError(f"{name} holds no training rows{first}", hint=hint)
    _refuse_one_class(splits.train, name)
    if not splits.dev:
        hold_out(splits, lambda row: row.text, items="rows", key_name="text")
        _refuse_one_class(splits.train, name)
    splits.notes += _unknown_labels(splits)
    return splits


def read_labelled(
    data: str | Path,
    fields: Fields,
    *,
    encoding: str = "utf-8",
    format: Format | None = None,
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
) -> Iterator[Labelled]:
    """Yield the rows of `data` in file order and in constant memory. Labels may be missing. Raises InputError."""
    options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row}
    report = RowReport() if report is None else report
    return _read(_files(data), fields, **options, report=report, require_label=False)


def labels_of(rows: Iterable[Labelled]) -> list[Label]:
    """Return the labels that occur: numbers by size, then texts by code point. 1 and "1" are the same label."""
    known = {str(row.label): row.label for row in rows if row.label is not None}
    order: Any = lambda label: (isinstance(label, str), label)  # noqa: E731 - numbers and texts have no order
    return sorted(known.values(), key=order)


def _read(
    files: Sequence[_File],
    fields: Fields,
    *,
    encoding: str,
    format: Format | None,
    on_bad_row: OnBadRow,
    report: RowReport,
    require_label: bool = True,
) -> Iterator[Labelled]:
    for file in files:
        for row in read_rows(file.path, encoding=encoding, format=format, on_bad_row=on_bad_row, report=report):
            try:
                fields = fields.settled(row)
                found = _labelled(row, fields, file.split, require_label)
            except InputError as error:
                if on_bad_row == "fail":
                    raise
                report.add_skipped(error)
            else:
                yield found


def _labelled(row: Row, fields: Fields, split: Split | None, require_label: bool) -> Labelled:
    texts = [_text(row, name) for name in fields.texts]
    split = split_of(row) or split
    return Labelled(
        texts[0],
        texts[1] if len(texts) > 1 else None,
        label=None if fields.label is None else _label(row, fields.label, require_label and split != "test"),
        place=row.place,
        split=split,
        row=row.values,
    )


def _text(row: Row, name: str) -> str:
    if name not in row.values:
        raise bad_row(row.place, f"lacks the field `{name}`", row=row.values, hint=_its_fields(row))
    value = row.values[name]
    if not isinstance(value, str):
        raise bad_row(row.place, f"field `{name}` is not a text", row=row.values)
    return value


def _label(row: Row, name: str, needed: bool) -> Label | None:
    value = row.values.get(name)
    if value is None or value == "":
        if needed:
            hint = f"{_its_fields(row)}; --set task_options.label_field=NAME says which is the label"
            raise bad_row(row.place, f"lacks a label in `{name}`", row=row.values, hint=hint)
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise bad_row(row.place, f"field `{name}` is {value!r}, expected a text or a whole number", row=row.values)
    return value


def _its_fields(row: Row) -> str:
    return f"its fields: {', '.join(row.values) or 'none'}"


def _files(data: str | Path) -> list[_File]:
    path = Path(data)
    if str(data) == "-" or not path.is_dir():
        return [_File(data)]
    found = [file for file in sorted(path.iterdir()) if file.is_file() and _holds_rows(file)]
    if not found:
        hint = "expected: JSON-lines, CSV or TSV files, such as train.jsonl and dev.jsonl"
        raise InputError(f"{path} holds no files of rows", hint=hint)
    return [_File(file, SPLIT_OF_NAME.get(file.name.partition(".")[0])) for file in found]


def _holds_rows(file: Path) -> bool:
    return any(suffix.lower() in FORMAT_OF_SUFFIX for suffix in file.suffixes) and format_of(file) != "txt"


def _refuse_one_class(rows: Sequence[Labelled], name: str) -> None:
    labels = labels_of(rows)
    if len(labels) == 1:
        hint = "a classifier needs rows of two classes at least; were the rows sorted and split?"
        raise InputError(f"{name}: all {len(rows)} training rows have label {labels[0]}", hint=hint)


def _unknown_labels(splits: Splits[Labelled]) -> Iterator[str]:
    known = set(map(str, labels_of(splits.train)))
    for name, rows in (("dev", splits.dev), ("test", splits.test)):
        unknown = Counter(str(row.label) for row in rows if row.label is not None and str(row.label) not in known)
        if unknown:
            shown = ", ".join(f"{label} ({count})" for label, count in unknown.most_common(_MAX_SHOWN))
            more = ", …" if len(unknown) > _MAX_SHOWN else ""
            what = f"{unknown.total()} {name} rows have a label that no training row has, and count as wrong"
            yield f"{what}: {shown}{more}"
