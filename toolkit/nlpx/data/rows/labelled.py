"""Rows with a text, or two, and a label of any number of classes: from a file, the files of a folder, or stdin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nlpx.data.opening.refusals import SKIP_HINT
from nlpx.data.opening.tables import LABELLED, Forms
from nlpx.data.rows.label_sets import LabelSet, labels_in, read_label_set
from nlpx.data.rows.label_spelling import Label, note_of_classes, note_of_spellings, spellings
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
from nlpx.data.rows.text_pairs import TEXT_NAMES
from nlpx.errors import InputError
from nlpx.notes import note

__all__ = ["Fields", "Label", "Labelled", "labels_of", "read_labelled", "read_splits"]

# How a row may call its texts where nobody says; the first that fits.
FORMS = (("text",), *TEXT_NAMES)
_MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of fields: of one or two texts (none: those of FORMS that the first row has), and of the label.

    `label=None` leaves labels unread. `many` reads sets of them, by `separator` where they are texts.
    """

    texts: tuple[str, ...] = ()
    label: str | None = "label"
    many: bool = False
    separator: str | None = None

    def settled(self, row: Row) -> Fields:
        """Return names for the texts as well. Raises InputError if the row has none of the forms."""
        if self.texts:
            return self
        for form in FORMS:
            if set(form) <= set(row.values):
                return replace(self, texts=form)
        hint = f"{_its_fields(row)}; --set task_options.text_field=NAME says which is the text"
        raise bad_row(row.place, "has no `text`, and no `text1` and `text2`", row=row.values, hint=hint)

    def shape(self, *, keep_empty: bool = False) -> Shape:
        """How rows may come without names: the texts first, and a label."""
        forms: Forms = LABELLED
        if self.texts:
            forms = {len(self.texts) + 1: (*self.texts, self.label or "label")}
            forms = {**forms, 2: self.texts} if len(self.texts) == 2 else forms
        names = (*self.texts, self.label or "label", *(name for form in FORMS for name in form))
        return Shape(forms, names, keep_empty)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text or two; `second`, `label` and `split` are None if not given. Of several labels `label` is a tuple."""

    text: str
    second: str | None
    label: Label | LabelSet | None
    place: str
    split: Split | None
    row: dict[str, Any]


def read_splits(
    data: Paths,
    fields: Fields | None = None,
    *,
    dev: Paths = (),
    test: Paths = (),
    encoding: str = "utf-8",
    format: str | None = None,
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
) -> Splits[Labelled]:
    """Read train, dev and test rows of files, URLs, stdin (`-`), and of a folder's files of rows.

    Rows say their split by `split`; else files of a folder, or several ones, by a word of their names (train, dev,
    valid, test ...); all rows of `dev` and `test` files belong there. Without a dev part a tenth of the training rows
    becomes one, see `hold_out`. Test rows need no label. Labels that differ only in how they are written are one.
    Raises InputError for rows that do not fit, no training rows, and labels of a single class.
    """
    parts: dict[Split, list[Labelled]] = {"train": [], "dev": [], "test": []}
    taken: Counter[tuple[Split, str]] = Counter()
    report = RowReport() if report is None else report
    files = files_of(data, dev, test, in_folder=row_files)
    fields = Fields() if fields is None else fields
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
    _spell_alike(splits)
    _refuse_one_class(splits.train, name_of(data))
    if not splits.dev:
        hold_out(splits, lambda row: row.text, items="rows", key_name="text")
        _refuse_one_class(splits.train, name_of(data))
    splits.notes += _notes(splits)
    return splits


def read_labelled(
    data: str | Path,
    fields: Fields,
    *,
    encoding: str = "utf-8",
    format: str | None = None,
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
) -> Iterator[Labelled]:
    """Yield the rows of `data` in file order and in constant memory, every plain line as one. Labels may be missing.

    Raises InputError.
    """
    report = RowReport() if report is None else report
    files = files_of(data, in_folder=row_files)
    options: dict[str, Any] = {"encoding": encoding, "on_bad_row": on_bad_row, "report": report}
    return (row for _, row in _read(files, fields, **options, format=format, require_label=False))


def labels_of(rows: Iterable[Labelled]) -> list[Label]:
    """Return the labels that occur: numbers by size, then texts by code point. 1 and "1" are the same label."""
    known = {str(label): label for row in rows for label in labels_in(row.label)}
    order: Any = lambda label: (isinstance(label, str), label)  # noqa: E731 - numbers and texts have no order
    return sorted(known.values(), key=order)


def _read(
    files: Sequence[SplitFile],
    fields: Fields,
    *,
    encoding: str,
    on_bad_row: OnBadRow,
    report: RowReport,
    format: str | None = None,
    require_label: bool = True,
) -> Iterator[tuple[SplitFile, Labelled]]:
    shape = fields.shape(keep_empty=not require_label)
    options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
    for file in files:
        for row in read_rows(file.path, **options, shape=shape):
            try:
                if not fields.texts:
                    fields = fields.settled(row)
                    shown = " and ".join(f"`{name}`" for name in fields.texts)
                    note(f"texts are in {shown}" + (f", labels in `{fields.label}`" if fields.label else ""))
                found = _labelled(row, fields, file, require_label)
            except InputError as error:
                if on_bad_row == "fail":
                    raise
                report.add_skipped(error)
            else:
                report.num_without_text += not (found.text.strip() and (found.second is None or found.second.strip()))
                yield file, found


def _labelled(row: Row, fields: Fields, file: SplitFile, require_label: bool) -> Labelled:
    texts = [_text(row, name) for name in fields.texts]
    split = file.split if file.is_chosen else split_of(row) or file.split
    return Labelled(
        texts[0],
        texts[1] if len(texts) > 1 else None,
        label=None if fields.label is None else _read_label(row, fields, require_label and split != "test"),
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


def _read_label(row: Row, fields: Fields, needed: bool) -> Label | LabelSet | None:
    assert fields.label is not None
    if fields.many:
        return read_label_set(row, fields.label, separator=fields.separator, needed=needed)
    return _label(row, fields.label, needed)


def _label(row: Row, name: str, needed: bool) -> Label | None:
    value = row.values.get(name)
    if isinstance(value, float) and value.is_integer():  # as a table of numbers with a gap writes it
        value = int(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        if needed:
            hint = f"{_its_fields(row)}; --set task_options.label_field=NAME says which is the label"
            raise bad_row(row.place, f"lacks a label in `{name}`", row=row.values, hint=hint)
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        hint = "--multi-label reads several labels of a row" if isinstance(value, list) else SKIP_HINT
        what = f"field `{name}` is {value!r}, expected a text or a whole number"
        raise bad_row(row.place, what, row=row.values, hint=hint)
    return value


def _its_fields(row: Row) -> str:
    return f"its fields: {', '.join(row.values) or 'none'}"


def _spell_alike(splits: Splits[Labelled]) -> None:
    """Give every label the spelling that stands for its class, and note where that changed something."""
    parts = (splits.train, splits.dev, splits.test)
    counts = Counter(label for part in parts for row in part for label in labels_in(row.label))
    same = spellings(counts.elements())
    for part in parts:
        part[:] = [row if row.label is None else replace(row, label=_respelt(row.label, same)) for row in part]
    sentence = note_of_spellings(same, counts)
    splits.notes += [sentence] if sentence else []


def _respelt(label: Label | LabelSet, same: Mapping[Label, Label]) -> Label | LabelSet:
    return tuple(dict.fromkeys(same[one] for one in label)) if isinstance(label, tuple) else same[label]


def _notes(splits: Splits[Labelled]) -> Iterator[str]:
    yield note_of_classes(Counter(str(label) for row in splits.train for label in labels_in(row.label)))
    num_empty = sum(not (row.text.strip() and (row.second is None or row.second.strip())) for row in splits.train)
    if num_empty:
        yield f"{num_empty:,} of {len(splits.train):,} training rows have no text"
    yield from _known_texts(splits)
    yield from _unknown_labels(splits)


def _known_texts(splits: Splits[Labelled]) -> Iterator[str]:
    trained = {(row.text, row.second) for row in splits.train}
    for name, rows in (("dev", splits.dev), ("test", splits.test)):
        num_known = sum((row.text, row.second) in trained for row in rows)
        if num_known:
            yield f"{num_known:,} of {len(rows):,} {name} rows have the text of a training row: their score flatters"


def _refuse_one_class(rows: Sequence[Labelled], name: str) -> None:
    labels = labels_of(rows)
    if any(isinstance(row.label, tuple) for row in rows):
        if not labels:
            raise InputError(f"{name}: no training row has a label", hint="are the labels in another field?")
    elif len(labels) == 1:
        hint = "a classifier needs rows of two classes at least; were the rows sorted and split?"
        raise InputError(f"{name}: all {len(rows)} training rows have label {labels[0]}", hint=hint)


def _unknown_labels(splits: Splits[Labelled]) -> Iterator[str]:
    known = set(map(str, labels_of(splits.train)))
    for name, rows in (("dev", splits.dev), ("test", splits.test)):
        given = (str(label) for row in rows for label in labels_in(row.label))
        unknown = Counter(label for label in given if label not in known)
        if unknown:
            shown = ", ".join(f"{label} ({count})" for label, count in unknown.most_common(_MAX_SHOWN))
            more = ", …" if len(unknown) > _MAX_SHOWN else ""
            what = f"{unknown.total()} {name} rows have a label that no training row has, and count as wrong"
            yield f"{what}: {shown}{more}"
