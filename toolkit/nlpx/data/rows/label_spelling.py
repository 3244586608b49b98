"""Which labels are the same: a blank around one, the width of its characters, `0` and `0.0` make no other class."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation

Label = str | int

_MOST_DIGITS = 30  # longer numbers are names of something
_MAX_SHOWN = 12


def spellings(labels: Iterable[Label]) -> dict[Label, Label]:
    """Return, for every label as it was written, the one that stands for all that are the same.

    Where all are numbers they are compared as numbers, otherwise as texts without blanks around them and in usual
    width. Of several spellings the commonest is taken, of equally common ones the first by code point.
    """
    counts = Counter(labels)
    numbers = {label: _number(label) for label in counts}
    are_numbers = all(number is not None for number in numbers.values())
    keys = {label: numbers[label] if are_numbers else _plain(label) for label in counts}
    groups: dict[object, list[Label]] = {}
    for label in counts:
        groups.setdefault(keys[label], []).append(label)
    chosen = {key: _commonest(found, counts, is_number=are_numbers) for key, found in groups.items()}
    return {label: chosen[keys[label]] for label in counts}


def note_of_spellings(same: Mapping[Label, Label], counts: Mapping[Label, int]) -> str | None:
    """Return a sentence on labels that were written in several ways, None if none was."""
    others: dict[Label, list[Label]] = {}
    for label, chosen in same.items():
        if str(label) != str(chosen):
            others.setdefault(chosen, []).append(label)
    if not others:
        return None
    shown = [
        f"{chosen!r} also as " + ", ".join(f"{label!r} ({counts[label]})" for label in found)
        for chosen, found in list(others.items())[:_MAX_SHOWN]
    ]
    return "labels written in several ways are one class: " + "; ".join(shown)


def note_of_classes(counts: Mapping[str, int]) -> str:
    """Return a sentence that lists classes with their numbers of rows, the largest first."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{label} ({count:,})" for label, count in ranked[:_MAX_SHOWN])
    left = ranked[_MAX_SHOWN:]
    more = f", and {len(left)} more down to {left[-1][0]} ({left[-1][1]:,})" if left else ""
    return f"{len(ranked)} classes in the training rows: {shown}{more}"


def _plain(label: Label) -> str:
    return unicodedata.normalize("NFKC", str(label)).strip()


def _number(label: Label) -> Decimal | None:
    try:
        number = Decimal(_plain(label))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number.adjusted() < _MOST_DIGITS else None


def _commonest(found: list[Label], counts: Mapping[Label, int], *, is_number: bool) -> Label:
    label = min(found, key=lambda label: (-counts[label], isinstance(label, str), str(label)))
    if isinstance(label, int):
        return label
    plain = label.strip()
    if is_number and (number := _number(plain)) is not None and number == number.to_integral_value():
        return str(int(number))  # `0.0` is how a table of numbers with a gap writes 0
    return plain
