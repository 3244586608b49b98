"""The three parts of a data set: which one a row says it belongs to, and a dev part where nobody chose one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from nlpx.data.rows.reading import Row, bad_row
from nlpx.errors import InputError

Item = TypeVar("Item")
Split = Literal["train", "dev", "test"]

SPLIT_OF_NAME: dict[str, Split] = {
    "train": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
DEV_PERCENT = 10


@dataclass(slots=True)
class Splits(Generic[Item]):
    """The three parts of a data set, and notes on decisions the user did not ask for."""

    train: list[Item]
    dev: list[Item]
    test: list[Item]
    notes: list[str] = field(default_factory=list)


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
