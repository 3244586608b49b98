"""Rows with several labels: a list, or a text whose separator is named. A text alone is never taken for a set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlpx.data.opening.refusals import bad_row

if TYPE_CHECKING:
    from nlpx.data.rows.label_spelling import Label
    from nlpx.data.rows.reading import Row

LabelSet = tuple["Label", ...]
_WAYS = 'a list such as ["a", "b"], or a text with --label-separator CHARACTERS'


def read_label_set(row: Row, name: str, *, separator: str | None, needed: bool) -> LabelSet | None:
    """The labels in a field, each once, in their order; None for a field that is absent, null or an empty text.

    An empty list is a row that has none of the labels. Raises `InputError` for what is no set, and for an absent one
    that is `needed`.
    """
    value: Any = row.values.get(name)
    if isinstance(value, str):
        value = _separated(row, name, value, separator)
    if value is None:
        if needed:
            raise bad_row(row.place, f"lacks labels in `{name}`", row=row.values, hint=f"labels are {_WAYS}")
        return None
    if not isinstance(value, list):
        raise bad_row(row.place, f"field `{name}` is {value!r}, expected labels", row=row.values, hint=_WAYS)
    for label in value:
        if isinstance(label, bool) or not isinstance(label, str | int) or not str(label).strip():
            what = f"field `{name}` holds {label!r}, expected texts or whole numbers"
            raise bad_row(row.place, what, row=row.values)
    return tuple(dict.fromkeys(value))


def labels_in(label: Any) -> LabelSet:
    """The labels of a row as a tuple, whether it has one, several or None."""
    return label if isinstance(label, tuple) else () if label is None else (label,)


def _separated(row: Row, name: str, value: str, separator: str | None) -> list[str] | None:
    if not value.strip():
        return None
    if separator is None:
        what = f"field `{name}` is the text {value!r}, and nothing says what separates labels in it"
        raise bad_row(row.place, what, row=row.values, hint=f"labels are {_WAYS}")
    parts = [part.strip() for part in value.split(separator)]
    if "" in parts:
        what = f"field `{name}` has an empty label between its separators"
        raise bad_row(row.place, what, row=row.values, hint=f"{separator!r} stands between labels only")
    return parts
