"""Texts with the vectors that a teacher gave them, one row of an array a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlpx.data.rows.labelled import Fields, read_labelled
from nlpx.data.rows.reading import OnBadRow, RowReport
from nlpx.data.rows.splits import Paths, Splits, hold_out, name_of, several
from nlpx.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TaughtText:
    """One text; `teacher` (K,) is float32, its mean over all texts at zero, or None if there is none."""

    text: str
    teacher: NDArray[Any] | None
    row: dict[str, Any]


def read_taught(
    data: Paths,
    teacher: str,
    field: str | None,
    *,
    encoding: str,
    format: str | None,
    on_bad_row: OnBadRow,
    report: RowReport,
) -> Splits[TaughtText]:
    """Read the texts of all files in order, and row i of the array `teacher` for text i; a tenth becomes dev.

    The mean of the teacher's vectors is taken off: encoders trained with a low temperature keep all texts within a
    narrow cone, where cosines hardly differ. Empty texts are left out, with their rows, and so is what occurs again.
    Raises `InputError` if the numbers of texts and of rows differ, and for values that are not finite.
    """
    texts = list(_texts(data, field, encoding=encoding, format=format, on_bad_row=on_bad_row, report=report))
    vectors = _vectors(teacher, len(texts), name_of(data))
    seen: dict[str, TaughtText] = {}
    num_empty = 0
    for (text, row), vector in zip(texts, vectors, strict=True):
        if not text.strip():
            num_empty += 1
        else:
            seen.setdefault(text, TaughtText(text, vector, row))
    splits: Splits[TaughtText] = Splits(list(seen.values()), [], [])
    num_again = len(texts) - num_empty - len(seen)
    left = [f"{count:,} {what}" for count, what in ((num_empty, "empty"), (num_again, "that occur again")) if count]
    splits.notes.append(f"{len(seen):,} texts of {name_of(data)}" + (f"; left out: {', '.join(left)}" if left else ""))
    if len(seen) < 2:
        raise InputError(f"{name_of(data)}: similarities need two texts at least")
    hold_out(splits, lambda row: row.text, items="texts", key_name="text")
    return splits


def read_texts(
    source: str, field: str | None, *, encoding: str, format: Any, on_bad_row: OnBadRow, report: RowReport
) -> Iterator[TaughtText]:
    """The texts of a file in order, in constant memory, without a teacher."""
    fields = Fields(() if field is None else (field,), label=None)
    options: dict[str, Any] = {"encoding": encoding, "format": format, "on_bad_row": on_bad_row, "report": report}
    return (TaughtText(row.text, None, row.row) for row in read_labelled(source, fields, **options))


def _texts(data: Paths, field: str | None, **options: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in several(data):
        for row in read_texts(str(path), field, **options):
            yield row.text, row.row


def _vectors(teacher: str, num_texts: int, name: str) -> Sequence[NDArray[Any]]:
    import numpy as np

    from nlpx.embed.vectors import open_vectors

    file = open_vectors(teacher)
    if file.rows != num_texts:
        raise InputError(
            f"{teacher} has {file.rows:,} rows and {name} {num_texts:,} texts: row i must belong to text i",
            hint="nlpx embed FILE -o VECTORS.npy --model TEACHER makes one row a line",
        )
    vectors = np.concatenate([chunk.astype(np.float32) for chunk in file.chunks()])  # (N, K)
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise InputError(f"{teacher}: row {wrong[0]} holds a value that is not finite")
    vectors -= vectors.mean(axis=0)
    return list(vectors)
