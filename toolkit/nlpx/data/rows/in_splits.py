"""Rows of files as items of a task, in their three parts: what every task reads that has no labels to compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from nlpx.data.rows.reading import OnBadRow, Row, RowReport, Shape, read_rows
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


class _Item(Protocol):
    @property
    def split(self) -> Split | None: ...


Item = TypeVar("Item", bound=_Item)
Parse = Callable[[Row, Split | None], Iterable[Item]]  # the items of a row that belongs to that part


def read_in_splits(
    data: Paths,
    parse: Parse[Item],
    *,
    shape: Shape,
    key: Callable[[Item], str],
    items: str,
    key_name: str,
    dev: Paths = (),
    test: Paths = (),
    encoding: str = "utf-8",
    format: str | None = None,
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
) -> Splits[Item]:
    """Read train, dev and test items of files, URLs, stdin (`-`), and of a folder's files of rows.

    Splits are told as for labelled rows. Without a dev part a tenth of the training items becomes one, by a hash of
    their `key`. `items` and `key_name` are what people call them. Raises InputError for rows that `parse` refuses, and
    where there is nothing to train on.
    """
    parts: dict[Split, list[Item]] = {"train": [], "dev": [], "test": []}
    taken: Counter[tuple[Split, str]] = Counter()
    report = RowReport() if report is None else report
    files = files_of(data, dev, test, in_folder=row_files)
    options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
    for file, item in read_items(files, parse, shape=shape, **options):
        parts[item.split or "train"].append(item)
        taken[item.split or "train", name_of(file.path)] += 1
    splits = Splits(parts["train"], parts["dev"], parts["test"])
    if not splits.train:
        first = f"; the first bad row: {report.errors[0]}" if report.errors else ""
        hint = "training rows have `split` = train or no `split` at all"
        raise InputError(f"{name_of(data)} holds no training {items}{first}", hint=hint)
    splits.notes.append(note_taken(taken, items))
    if not splits.dev:
        hold_out(splits, key, items=items, key_name=key_name)
    splits.notes += _known(splits, key, items, key_name)
    return splits


def read_items(
    files: Sequence[SplitFile],
    parse: Parse[Item],
    *,
    shape: Shape,
    encoding: str,
    format: str | None,
    on_bad_row: OnBadRow,
    report: RowReport,
) -> Iterator[tuple[SplitFile, Item]]:
    """The items of all files in order, in constant memory. Raises InputError for rows that `parse` refuses."""
    options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
    for file in files:
        for row in read_rows(file.path, **options, shape=shape):
            try:
                split = file.split if file.is_chosen else split_of(row) or file.split
                found = list(parse(row, split))
            except InputError as error:
                if on_bad_row == "fail":
                    raise
                report.add_skipped(error)
            else:
                yield from ((file, item) for item in found)


def _known(splits: Splits[Item], key: Callable[[Item], str], items: str, key_name: str) -> Iterator[str]:
    trained = {key(item) for item in splits.train}
    for name, others in (("dev", splits.dev), ("test", splits.test)):
        num_known = sum(key(item) in trained for item in others)
        if num_known:
            yield (
                f"{num_known:,} of {len(others):,} {name} {items} have the {key_name} of a training row: "
                "their score flatters"
            )
