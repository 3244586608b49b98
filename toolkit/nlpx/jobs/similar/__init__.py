"""`nlpx similar`: cosines of given pairs, the nearest of an index, and all pairs that are nearly the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError
from nlpx.jobs.similar.sources import Settings, Sources

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpx.data.rows.text_pairs import TextPair
    from nlpx.embed.unit_vectors import UnitVectors
    from nlpx.embed.vectors import VectorFile
    from nlpx.messages import Messages

__all__ = ["SearchOptions", "Settings", "pairs", "score", "search"]

PAIRS_AT_ONCE = 2048  # encoded together
DEFAULT_TOP = 10
LARGEST_RESULT = 1 << 22  # hits that are held at once

Row = dict[str, Any]
Rows = Iterator[list[Row]]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How many hits, what is shown beside them, the engine, and whether the map was applied to the index already."""

    top: int | None = None
    texts: Path | None = None
    engine: str = "exact"
    whitened_index: bool = False


def score(
    first: str, second: str | None, settings: Settings, messages: Messages, *, fields: Sequence[str] | None = None
) -> Rows:
    """Yield the pairs in order with `cosine` added, some thousand rows at a time.

    `first` holds pairs of texts; with `second`, both hold vectors or texts, and row i is compared with row i.
    Raises `InputError` for what cannot be read or is not equally long.
    """
    sources = Sources(settings, messages)
    if second is None and first.endswith(".npy"):
        raise UsageError(f"{first} holds vectors: a second file is needed", hint="nlpx similar score a.npy b.npy")
    if first == second == "-":
        raise UsageError("stdin cannot be both sides")
    num_zero = 0
    for rows, left, right in _pairs_of(sources, first, second, fields):
        cosines, found = _cosines(sources, left, right)
        num_zero += found
        yield [row | {"cosine": value} for row, value in zip(rows, cosines, strict=True)]
    if num_zero:
        messages.warn(f"{num_zero:,} texts are empty or vectors zero: their cosine is 0")


def _pairs_of(
    sources: Sources, first: str, second: str | None, fields: Sequence[str] | None
) -> Iterator[tuple[list[Row], NDArray[Any], NDArray[Any]]]:
    from nlpx.data.rows.text_pairs import read_pairs

    if second is not None:
        yield from _side_by_side(sources, first, second)
        return
    settings = sources.settings
    found = read_pairs(first, fields=fields, encoding=settings.encoding, format=settings.input_format)
    while batch := list(islice(found, PAIRS_AT_ONCE)):
        yield ([pair.values for pair in batch], *_encoded(sources, batch))


def _encoded(sources: Sources, batch: Sequence[TextPair]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Vectors of both sides; a text that comes several times is encoded once."""
    numbers = {text: -1 for pair in batch for text in (pair.text1, pair.text2)}
    numbers = {text: number for number, text in enumerate(numbers)}
    vectors = sources.encode(list(numbers))
    return vectors[[numbers[pair.text1] for pair in batch]], vectors[[numbers[pair.text2] for pair in batch]]


def _side_by_side(sources: Sources, first: str, second: str) -> Iterator[tuple[list[Row], NDArray[Any], NDArray[Any]]]:
    from nlpx.embed.search.exact import WINDOW_ROWS

    with sources.opened(first) as left, sources.opened(second) as right:
        if left.rows != right.rows:
            raise InputError(f"{left.name} holds {left.rows:,} rows, {right.name} {right.rows:,}")
        if left.columns != right.columns:
            raise InputError(f"{left.name}: vectors of {left.columns} numbers, {right.name}: of {right.columns}")
        start = 0
        for parts in zip(left.chunks(WINDOW_ROWS), right.chunks(WINDOW_ROWS), strict=True):
            count = len(parts[0])
            for part, file in zip(parts, (left, right), strict=True):
                _refuse_non_finite(part, file, start)
            yield [{"row": start + row} for row in range(count)], *parts
            start += count


def _refuse_non_finite(part: NDArray[Any], file: VectorFile, start: int) -> None:
    import numpy as np

    from nlpx.embed.unit_vectors import to_unit

    if not np.isfinite(part).all():
        to_unit(part, name=file.name, first_row=start)


def _cosines(sources: Sources, left: NDArray[Any], right: NDArray[Any]) -> tuple[list[float], int]:
    """Of rows with the same number, in float64, and how many rows are zero."""
    import numpy as np

    from nlpx.embed.unit_vectors import exactly_unit, whitened

    if sources.whitening is not None and sources.whitening.columns != left.shape[1]:
        raise InputError(f"the map takes vectors of {sources.whitening.columns} numbers; these have {left.shape[1]}")
    units = [exactly_unit(whitened(side, sources.whitening)) for side in (left, right)]
    cosines = np.clip(np.einsum("ij,ij->i", *units), -1, 1)
    return cosines.tolist(), sum(int((~unit.any(axis=1)).sum()) for unit in units)


def search(queries: str, index: str, settings: Settings, options: SearchOptions, messages: Messages) -> Rows:
    """Yield the nearest rows of `index` (.npy) for every query, in order, as `query`, `rank`, `index`, `cosine`.

    Queries are vectors or texts; with `options.texts` the hit's `text` is added. Raises `InputError` for vectors
    that do not fit each other, `UsageError` for more hits than the index has rows.
    """
    from nlpx.embed.search.engines import open_engine
    from nlpx.embed.unit_vectors import UnitVectors
    from nlpx.embed.vectors import open_vectors

    if index == "-":
        raise UsageError("the index is read several times, so it cannot be stdin", hint="--index FILE.npy")
    sources, file = Sources(settings, messages), open_vectors(index)
    top = min(DEFAULT_TOP, file.rows) if options.top is None else options.top
    if top > file.rows:
        raise UsageError(f"--top {top}: {file.name} holds {file.rows:,} vectors")
    texts = sources.shown_texts(options.texts, file)
    unit = UnitVectors(file, None if options.whitened_index else sources.whitening)
    num_done, num_zero, engine = 0, 0, None
    for part in _steps(sources.windows(queries), top):
        part = _mapped_query(part, sources, unit)
        engine = engine or open_engine(options.engine, unit)
        num_zero += int((~part.any(axis=1)).sum())
        yield list(_hits(*engine.search(part, top), first_query=num_done, texts=texts))
        num_done += len(part)
        _warn_of_zero_rows(unit, messages)
    if not num_done:
        raise InputError(f"{'stdin' if queries == '-' else queries}: not one query in it")
    if num_zero:
        messages.warn(f"{num_zero:,} queries are empty or zero: their cosine to everything is 0")


def _steps(windows: Iterator[NDArray[Any]], top: int) -> Iterator[NDArray[Any]]:
    step = max(1, LARGEST_RESULT // top)
    for window in windows:
        for start in range(0, len(window), step):
            yield window[start : start + step]


def _mapped_query(part: NDArray[Any], sources: Sources, index: UnitVectors) -> NDArray[Any]:
    from nlpx.embed.unit_vectors import whitened

    whitening = sources.whitening
    if whitening is not None and whitening.columns != part.shape[1]:
        raise InputError(f"queries of {part.shape[1]} numbers; the map takes {whitening.columns}")
    mapped = whitened(part, whitening)
    if mapped.shape[1] != index.columns:
        hint = "queries and index must come from one model, and through one map"
        raise InputError(
            f"{index.file.name}: vectors of {index.columns} numbers, the queries have {mapped.shape[1]}", hint=hint
        )
    return mapped


def _hits(
    cosines: NDArray[Any], indices: NDArray[Any], *, first_query: int, texts: Sequence[str] | None
) -> Iterator[Row]:
    for query, (values, found) in enumerate(zip(cosines.tolist(), indices.tolist(), strict=True), start=first_query):
        for rank, (value, place) in enumerate(zip(values, found, strict=True), start=1):
            if place >= 0:  # an approximate engine may find fewer
                row = {"query": query, "rank": rank, "index": place, "cosine": value}
                yield row if texts is None else row | {"text": texts[place]}


def _warn_of_zero_rows(vectors: UnitVectors, messages: Messages) -> None:
    if vectors.num_zero:
        messages.warn(
            f"{vectors.num_zero:,} of {vectors.rows:,} vectors of {vectors.file.name} are zero: "
            "their cosine to everything is 0"
        )


def pairs(
    source: str, settings: Settings, messages: Messages, *, threshold: float = 0.9, texts: Path | None = None
) -> Rows:
    """Yield all pairs of rows of `source`, vectors or texts, with at least this cosine: `first`, `second`, `cosine`.

    They come block by block; `texts` adds `text1` and `text2`.
    """
    from nlpx.embed.search.exact import near_pairs
    from nlpx.embed.unit_vectors import UnitVectors

    sources = Sources(settings, messages)
    with sources.opened(source) as file:
        shown = sources.shown_texts(texts, file)
        vectors = UnitVectors(file, sources.whitening)
        for near in near_pairs(vectors, threshold):
            columns = (near.first.tolist(), near.second.tolist(), near.cosine.tolist())
            found = [dict(zip(("first", "second", "cosine"), row, strict=True)) for row in zip(*columns, strict=True)]
            if shown is not None:
                found = [row | {"text1": shown[row["first"]], "text2": shown[row["second"]]} for row in found]
            yield found
        _warn_of_zero_rows(vectors, messages)
