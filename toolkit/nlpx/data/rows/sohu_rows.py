"""From a row to pairs of the six-variant matching task (Sohu campus contest 2021).

A variant is short-short, short-long or long-long, judged loosely (A: the same topic) or strictly (B: the same
event). A row carries `source`, `target`, `labelA` or `labelB`, and names its variant by `variant` (or `type`)
unless a folder of the contest's layout does. A row of type `ss`, `sl` or `ll` with both labels stands for two pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nlpx.data.rows.reading import Row, bad_row
from nlpx.data.rows.splits import Split, split_of

VARIANTS = ("ssA", "ssB", "slA", "slB", "llA", "llB")
SHAPES = ("ss", "sl", "ll")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts of one variant (0 to 5, see VARIANTS); `label` and `split` are None if not given."""

    source: str
    target: str
    variant: int
    label: int | None
    id: str | None
    place: str
    split: Split | None
    row: dict[str, Any]


def pairs_of_row(
    row: Row, *, variant: int | None = None, split: Split | None = None, require_label: bool = True
) -> list[Pair]:
    """Return the pairs of one row: one, or two where a row of type ss, sl or ll carries both labels.

    `variant` and `split` come from the folder and file of the contest's layout. Raises InputError.
    """
    source, target = _text(row, "source"), _text(row, "target")
    split = split or split_of(row)
    variants = [variant] if variant is not None else _variants(row)
    needed = require_label and split != "test"
    identifier = row.values.get("id")
    return [
        Pair(
            source,
            target,
            variant=index,
            label=_label(row, VARIANTS[index], needed=needed),
            id=None if identifier is None else str(identifier),
            place=row.place,
            split=split,
            row=row.values,
        )
        for index in variants
    ]


def _text(row: Row, name: str) -> str:
    if name not in row.values:
        hint = f"each row needs `source` and `target`; this one has: {', '.join(row.values) or 'nothing'}"
        raise bad_row(row.place, f"lacks the field `{name}`", row=row.values, hint=hint)
    value = row.values[name]
    if not isinstance(value, str):
        raise bad_row(row.place, f"field `{name}` is not a text", row=row.values)
    return value


def _variants(row: Row) -> list[int]:
    name = "variant" if "variant" in row.values else "type"
    value = row.values.get(name)
    if value in VARIANTS:
        return [VARIANTS.index(str(value))]
    hint = f"variants: {', '.join(VARIANTS)} (short or long source and target; A same topic, B same event)"
    if value is None:
        raise bad_row(row.place, "lacks the field `variant`", row=row.values, hint=hint)
    if value not in SHAPES:
        raise bad_row(row.place, f"unknown variant {value!r} in `{name}`", row=row.values, hint=hint)
    judged = [letter for letter in "AB" if not _missing(row.values.get(f"label{letter}"))]
    if not judged:
        what = f"`{name}` {value!r} leaves open whether A or B is meant, and no label says so"
        raise bad_row(row.place, what, row=row.values, hint=hint)
    return [VARIANTS.index(f"{value}{letter}") for letter in judged]


def _missing(value: object) -> bool:
    return value is None or value == ""


def _label(row: Row, variant: str, *, needed: bool) -> int | None:
    name = f"label{variant[-1]}"
    value = row.values.get(name)
    if _missing(value):
        if needed:
            raise bad_row(row.place, f"lacks the field `{name}` of variant {variant}", row=row.values)
        return None
    # `True` equals 1 in Python, but a boolean here means that the file follows some other convention.
    if isinstance(value, (bool, float)) or value not in (0, 1, "0", "1"):
        raise bad_row(row.place, f"field `{name}` is {value!r}, expected 0 or 1", row=row.values)
    return int(value)
