"""Exact search by cosine: queries times blocks of the index, as plain matrix products into one buffer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlpx.embed.search.top_k import TopK, above
from nlpx.embed.unit_vectors import UnitVectors, exactly_unit

Matrix = NDArray[Any]

QUERY_ROWS, INDEX_ROWS = 256, 4096  # of one product: it and its factors fit into a processor's cache
WINDOW_ROWS = 4096  # queries that go through the index together
RESERVE = 8  # candidates beyond k: their order in float32 is not quite that of the exact cosines
REFINED_BYTES = 32 << 20  # of rows in float64 at a time
DIGITS = 12  # of a cosine that is printed or compared
ROUNDING = 1e-6  # of a cosine in float32: the cosine of two equal texts may be that far below 1


class Products(NamedTuple):
    """Cosines (Q, B) of the queries and index rows from these on; valid until the next are read."""

    first_query: int
    first_index: int
    values: Matrix


class Near(NamedTuple):
    """Pairs of rows, `first` < `second`, and their cosines, (N,) each."""

    first: Matrix
    second: Matrix
    cosine: Matrix


def products(queries: Matrix, index: UnitVectors, *, start: int = 0) -> Iterator[Products]:
    """Yield all cosines of queries (Q, d), of length 1 and float32, with the index from row `start` on, in blocks."""
    buffer = np.empty(QUERY_ROWS * INDEX_ROWS, dtype=np.float32)
    for first_index, block in index.blocks(INDEX_ROWS, start=start):
        for first_query in range(0, len(queries), QUERY_ROWS):
            part = queries[first_query : first_query + QUERY_ROWS]
            values = buffer[: len(part) * len(block)].reshape(len(part), len(block))
            yield Products(first_query, first_index, np.matmul(part, block.T, out=values))


def search(queries: Matrix, index: UnitVectors, k: int) -> tuple[Matrix, Matrix]:
    """The `k` rows of the index nearest to each query (Q, d), finite: cosines and indices, (Q, k) each.

    Best first; of equal cosines the smaller index. The index is read once, whatever Q is; `k` is at most its rows.
    """
    queries = exactly_unit(queries)
    best = TopK(len(queries), min(k + RESERVE, index.rows))
    for first_query, first_index, values in products(queries.astype(np.float32), index):
        best.add(values, first_query=first_query, first_index=first_index)
    return _refined(queries, index, best.result()[1], k)


def _refined(queries: Matrix, index: UnitVectors, candidates: Matrix, k: int) -> tuple[Matrix, Matrix]:
    """The best `k` of the candidates (Q, k + reserve), their cosines computed again in float64.

    In float32 a product depends on where in its block it stands, so equal rows would not come out equal.
    """
    cosines, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    step = max(1, REFINED_BYTES // (8 * candidates.shape[1] * index.columns))
    for first in range(0, len(queries), step):
        part = slice(first, first + step)
        exact = np.einsum("qd,qkd->qk", queries[part], index.take(candidates[part]))
        exact = np.clip(exact.round(DIGITS), -1, 1)
        order = np.lexsort((candidates[part], -exact), axis=1)[:, :k]
        cosines[part] = np.take_along_axis(exact, order, axis=1)
        indices[part] = np.take_along_axis(candidates[part], order, axis=1)
    return cosines, indices


def near_pairs(vectors: UnitVectors, threshold: float) -> Iterator[Near]:
    """Yield all pairs of rows whose cosine is at least `threshold`, up to float32's rounding, block by block.

    Only blocks on and above the diagonal are computed. Within a block pairs are sorted; blocks go by rows.
    """
    floor = np.full((QUERY_ROWS, 1), threshold - ROUNDING, dtype=np.float32)
    for start in range(0, vectors.rows, WINDOW_ROWS):
        window = np.concatenate(
            [part.copy() for _, part in vectors.blocks(INDEX_ROWS, start=start, stop=start + WINDOW_ROWS)]
        )
        for first_query, first_index, values in products(window, vectors, start=start):
            rows, columns = above(values, floor[: len(values)])
            first, second = start + first_query + rows, first_index + columns
            if (kept := np.flatnonzero(first < second)).size:
                order = kept[np.lexsort((second[kept], first[kept]))]
                cosines = np.clip(values[rows[order], columns[order]], -1, 1)
                yield Near(first[order], second[order], cosines)
