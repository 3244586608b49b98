"""The three parts of a data set: which one a row says it belongs to, and a dev part where nobody chose one."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from nlpx.data.opening.remote import without_password
from nlpx.data.opening.sources import text_suffix
from nlpx.data.rows.reading import Row, bad_row, format_of
from nlpx.errors import InputError, refuse_empty

Item = TypeVar("Item")
Split = Literal["train", "dev", "test"]

SPLIT_OF_NAME: dict[str, Split] = {
    "train": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
# In names of files, beside those above.
_ALSO_IN_NAMES: dict[str, Split] = {"training": "train", "val": "dev", "eval": "dev", "testing": "test"}
DEV_PERCENT = 10


@dataclass(slots=True)
class Splits(Generic[Item]):
    """The three parts of a data set, and notes on decisions the user did not ask for."""

    train: list[Item]
    dev: list[Item]
    test: list[Item]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SplitFile:
    """A file of a data set, and the split of its rows, None if nothing says; `is_chosen`: whatever the rows say."""

    path: str | Path
    split: Split | None = None
    is_chosen: bool = False


Paths = str | Path | Sequence[str | Path]


def several(paths: Paths) -> list[str | Path]:
    """One path or several as a list."""
    return [paths] if isinstance(paths, str | Path) else list(paths)


def split_of_name(path: str | Path) -> Split | None:
    """Return the split that a word in the name of a file says, as in `x_train.csv`; None if none does, or several."""
    stem = Path(path).name.removesuffix(text_suffix(str(path)))
    words = re.split(r"[^a-z]+", stem.lower())
    found = {split for word in words if (split := (SPLIT_OF_NAME | _ALSO_IN_NAMES).get(word)) is not None}
    return found.pop() if len(found) == 1 else None


def files_of(
    data: Paths, dev: Paths = (), test: Paths = (), *, in_folder: Callable[[Path], list[Path]]
) -> list[SplitFile]:
    """Return the files of a data set and the split of each: by the option that named it, or by its name.

    A single file of `data` may hold rows of all splits, whatever its name. `in_folder` lists the files of a folder.
    """
    listed = [file for path in several(data) for file in _listed(path, in_folder)]
    is_single = len(several(data)) == len(listed) == 1
    files = [SplitFile(file, None if is_single else split_of_name(file)) for file in listed]
    for paths, split in ((dev, "dev"), (test, "test")):
        files += [SplitFile(file, split, True) for path in several(paths) for file in _listed(path, in_folder)]  # type: ignore[arg-type]
    return files


def _listed(path: str | Path, in_folder: Callable[[Path], list[Path]]) -> Sequence[str | Path]:
    refuse_empty(path, what="a file or folder of rows")
    return in_folder(Path(path)) if str(path) != "-" and Path(path).is_dir() else [path]


def row_files(folder: Path) -> list[Path]:
    """The files of rows in a folder, by name. Raises InputError if there is none."""
    found = [file for file in sorted(folder.iterdir()) if file.is_file() and format_of(file) not in (None, "txt")]
    if not found:
        hint = "expected: JSON-lines, CSV, TSV or Parquet files, such as train.jsonl and dev.jsonl"
        raise InputError(f"{folder} holds no files of rows", hint=hint)
    return found


def note_taken(taken: Counter[tuple[Split, str]], items: str) -> str:
    """Return a sentence on what was taken for which split: numbers of rows, and the files they come from."""
    if len({name for _, name in taken}) == 1:
        shown = ", ".join(f"{split} {count:,}" for split in ("train", "dev", "test") for count in _counts(taken, split))
        return f"{items} of {next(iter(taken))[1]}: {shown}"
    parts = []
    for split in ("train", "dev", "test"):
        names = [name for found, name in taken if found == split]
        if names:
            total = sum(_counts(taken, split))
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            parts.append(f"{split}: {total:,} {items} of {shown}")
    return "; ".join(parts)


def _counts(taken: Counter[tuple[Split, str]], split: str) -> list[int]:
    return [count for (found, _), count in taken.items() if found == split]


def name_of(paths: Paths) -> str:
    """What to call a data set in messages."""
    return ", ".join("stdin" if str(path) == "-" else without_password(str(path)) for path in several(paths))


def split_of(row: Row) -> Split | None:
    """Return the part that the row's `split` names, None if it names none. Raises InputError for an unknown name."""
    value = row.values.get("split")
    if value is None or value == "":
        return None
    if not isinstance(value, str) or value not in SPLIT_OF_NAME:
        hint = f"splits: {', '.join(SPLIT_OF_NAME)}"
        raise bad_row(row.place, f"unknown `split` {value!r}", row=row.values, hint=hint)
    return SPLIT_OF_NAME[value]


def hold_out(splits: Splits[Item], key: Callable[[Item], str], *, items: str, key_name: str) -> None:
    """Move a tenth of the training items to dev, chosen by a hash of a text, and note it.

    Items of equal `key` stay together, so that the same text never stands on both sides, and the choice depends on
    nothing else. `items` and `key_name` are what a person calls the items and the text. Raises InputError where the
    texts are all the same.
    """
    ranks = {text: _rank(text) for text in map(key, splits.train)}
    limit = max(DEV_PERCENT / 100, min(ranks.values()))  # at least one text, however small the set
    splits.dev = [item for item in splits.train if ranks[key(item)] <= limit]
    splits.train = [item for item in splits.train if ranks[key(item)] > limit]
    if not splits.train:
        raise InputError(f"one {key_name} is too little to train and to evaluate on")
    share = f"{len(splits.dev)} {items} ({len(splits.dev) / (len(splits.dev) + len(splits.train)):.0%})"
    splits.notes.append(f"no dev split given: {share}, chosen by a hash of the {key_name}, serve as dev")


def _rank(text: str) -> float:
    digest = hashlib.blake2b(text.strip().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
