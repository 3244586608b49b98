"""Pairs of the six-variant matching task from the contest's folders, from JSON-lines files or from stdin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nlpx.data.rows.reading import OnBadRow, Row, RowReport, format_of, read_rows
from nlpx.data.rows.sohu_rows import VARIANTS, Pair, pairs_of_row
from nlpx.data.rows.splits import Paths, Split, Splits, hold_out, name_of, note_taken, several, split_of_name
from nlpx.errors import InputError, refuse_empty

__all__ = ["FOLDERS", "VARIANTS", "Pair", "Split", "Splits", "describe", "read_pairs", "read_splits"]

FOLDERS = ("短短匹配A类", "短短匹配B类", "短长匹配A类", "短长匹配B类", "长长匹配A类", "长长匹配B类")
# The contest's second round added training files of its own; any `train*.txt` of a folder is training data.
CONTEST_FILES: tuple[tuple[Split, str], ...] = (
    ("train", "train*.txt*"),
    ("dev", "valid*.txt*"),
    ("test", "test*.txt*"),
)


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a data set; folder and split are None where the rows themselves say."""

    path: str | Path
    format: str | None
    variant: int | None = None
    split: Split | None = None


def read_splits(
    data: Paths,
    *,
    dev: Paths = (),
    test: Paths = (),
    encoding: str = "utf-8",
    format: str | None = None,
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
) -> Splits[Pair]:
    """Read train, dev and test pairs of contest folders, files of rows (also in a folder), URLs or stdin (`-`).

    Files of the contest say their split by their names, and so do several files given at once, as in
    `pairs_train.jsonl`; else rows say it by `split`. All rows of `dev` and `test` files belong there. Without a dev
    part, a tenth of the training pairs becomes one, chosen by a hash of the source text so that the same text never
    stands on both sides; a note says so. Training and dev pairs must be labelled. Raises InputError for rows that do
    not fit, no training pairs, and labels of a single class.
    """
    parts: dict[Split, list[Pair]] = {"train": [], "dev": [], "test": []}
    taken: Counter[tuple[Split, str]] = Counter()
    files, notes = _all_files(data, dev, test, encoding=encoding, format=format)
    report = RowReport() if report is None else report
    for file in files:
        for pair in _read([file], encoding=encoding, on_bad_row=on_bad_row, report=report):
            parts[pair.split or "train"].append(pair)
            taken[pair.split or "train", name_of(file.path)] += 1
    splits = Splits(parts["train"], parts["dev"], parts["test"], notes=notes)
    if not splits.train:
        hint = "training rows stand in train.txt, or have `split` = train or no `split` at all"
        first = f"; the first bad row: {report.errors[0]}" if report.errors else ""
        raise InputError(f"{name_of(data)} holds no training pairs{first}", hint=hint)
    splits.notes.append(note_taken(taken, "pairs"))
    num_empty = sum(not (pair.source.strip() and pair.target.strip()) for pair in splits.train)
    if num_empty:
        splits.notes.append(f"{num_empty:,} of {len(splits.train):,} training pairs lack a text")
    if not splits.dev:
        hold_out(splits, lambda pair: pair.source, items="pairs", key_name="source text")
    _check_classes(splits, name=name_of(data))
    return splits


def read_pairs(
    data: str | Path,
    *,
    split: Split | None = None,
    require_label: bool = True,
    encoding: str = "utf-8",
    format: str | None = None,
    on_bad_row: OnBadRow = "fail",
    report: RowReport | None = None,
) -> Iterator[Pair]:
    """Yield the pairs of `data` in file order, all of them or those of one split, in constant memory.

    Test pairs need no label; others do unless `require_label` is false. A pair whose row names no split
    belongs to none of them (only `read_splits`, which sees the whole set, can divide it). Raises InputError.
    """
    files, _ = _files(data, encoding=encoding, format=format)
    files = [file for file in files if split is None or file.split in (None, split)]
    report = RowReport() if report is None else report
    pairs = _read(files, encoding=encoding, on_bad_row=on_bad_row, report=report, require_label=require_label)
    yield from (pair for pair in pairs if split in (None, pair.split))


def _read(
    files: list[_File], *, encoding: str, on_bad_row: OnBadRow, report: RowReport, require_label: bool = True
) -> Iterator[Pair]:
    options: dict[str, Any] = {"encoding": encoding, "on_bad_row": on_bad_row, "report": report}
    for file in files:
        for row in read_rows(file.path, format=file.format, **options):
            yield from _pairs(row, file, require_label, report if on_bad_row == "skip" else None)


def _pairs(row: Row, file: _File, require_label: bool, skip: RowReport | None) -> list[Pair]:
    try:
        return pairs_of_row(row, variant=file.variant, split=file.split, require_label=require_label)
    except InputError as error:
        if skip is None:
            raise
        skip.add_skipped(error)
        return []


def _all_files(
    data: Paths, dev: Paths, test: Paths, *, encoding: str, format: str | None
) -> tuple[list[_File], list[str]]:
    """The files of all paths, with the splits that options and names say."""
    files: list[_File] = []
    notes: list[str] = []
    by_name = len(several(data)) > 1
    for paths, split in ((data, None), (dev, "dev"), (test, "test")):
        for path in several(paths):
            found, left_out = _files(path, encoding=encoding, format=format)
            notes += left_out
            for file in found:
                chosen = split or file.split or (split_of_name(file.path) if by_name or len(found) > 1 else None)
                files.append(replace(file, split=chosen))  # type: ignore[arg-type]
    return files, notes


def _files(data: str | Path, *, encoding: str, format: str | None) -> tuple[list[_File], list[str]]:
    refuse_empty(data, what="a file or folder of rows")
    path = Path(data)
    if str(data) == "-" or not path.is_dir():
        # A contest file may be given by itself (.../短短匹配A类/valid.txt); it holds JSON whatever its suffix.
        kind = format or ("jsonl" if format_of(data) == "txt" else None)
        contest = [file for file in _contest_files(path.parent) if file.path == path]
        return contest or [_File(data, kind, variant=_variant_of_folder(path.parent))], []
    folders = [path, *sorted(entry for entry in path.iterdir() if entry.is_dir())]
    contest = [file for folder in folders for file in _contest_files(folder)]
    if contest:
        return sorted(contest, key=lambda file: (file.variant, str(file.path))), []
    every = [file for file in sorted(path.iterdir()) if file.is_file() and _is_json_lines(file)]
    fitting = [file for file in every if _has_pairs(file, encoding=encoding)]
    if not fitting:
        hint = f"expected: the folders {FOLDERS[0]} … {FOLDERS[-1]} with train.txt, or JSON-lines files"
        raise InputError(f"{path} holds no pairs (rows with `source` and `target`)", hint=hint)
    return [_File(file, "jsonl") for file in fitting], _left_out(every, fitting)


def _contest_files(folder: Path) -> Iterator[_File]:
    variant = _variant_of_folder(folder)
    if variant is not None:
        for split, pattern in CONTEST_FILES:
            for path in sorted(folder.glob(pattern)):
                yield _File(path, "jsonl", variant=variant, split=split)


def _variant_of_folder(folder: Path) -> int | None:
    names = FOLDERS if folder.name in FOLDERS else VARIANTS
    return names.index(folder.name) if folder.name in names else None


def _is_json_lines(path: Path) -> bool:
    return any(suffix in (".jsonl", ".ndjson", ".json") for suffix in path.suffixes)


def _has_pairs(path: Path, *, encoding: str) -> bool:
    # One good row tells; a file of bad rows only counts as fitting, so that reading it names the fault.
    try:
        first = next(read_rows(path, encoding=encoding, format="jsonl", on_bad_row="skip"))
    except InputError:
        return True
    return "source" in first.values and "target" in first.values


def _left_out(every: list[Path], fitting: list[Path]) -> list[str]:
    names = [path.name for path in every if path not in fitting]
    if not names:
        return []
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return [f"{len(names)} of {len(every)} files hold no `source` and `target` and were left out: {shown}"]


def _check_classes(splits: Splits[Pair], *, name: str) -> None:
    labels = {pair.label for pair in splits.train}
    if len(labels) == 1:
        hint = "a classifier needs rows of both classes; were the rows sorted and split?"
        raise InputError(f"{name}: all {len(splits.train)} training pairs have label {labels.pop()}", hint=hint)
    for summary in describe(splits.train):
        if summary["positive"] in (0, summary["pairs"]):
            splits.notes.append(f"all training pairs of {summary['variant']} have the same label")


def describe(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """Return one summary a variant: pairs, positives, their share, mean and largest lengths (characters)."""
    groups: dict[int, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.variant, []).append(pair)
    return [_summary(VARIANTS[variant], groups[variant]) for variant in sorted(groups)]


def _summary(variant: str, pairs: list[Pair]) -> dict[str, Any]:
    labelled = [pair.label for pair in pairs if pair.label is not None]
    return {
        "variant": variant,
        "pairs": len(pairs),
        "positive": sum(labelled),
        "positive_share": sum(labelled) / len(labelled) if labelled else None,
        "mean_source_length": sum(len(pair.source) for pair in pairs) / len(pairs),
        "mean_target_length": sum(len(pair.target) for pair in pairs) / len(pairs),
        "max_length": max(len(pair.source) + len(pair.target) for pair in pairs),
    }
