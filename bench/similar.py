"""Exact search against the matrix product it consists of: the same blocks, alternating rounds, CPU seconds.

The product alone is the floor: nothing can search exactly and do less. Goal: at least 0.8 of its rate on 1M x 256, and
the same hits as sorting all cosines in float64, which is checked first on the first queries.

    python bench/similar.py [--rows 1000000] [--dim 256] [--queries 4096] [--top 10] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

from rounds import ONE_THREAD, Variant, in_process, markdown, ratios, spread

os.environ.update(ONE_THREAD | {"OPENBLAS_NUM_THREADS": "1"})

import numpy as np

from nlpx.embed.search.exact import INDEX_ROWS, QUERY_ROWS, search
from nlpx.embed.unit_vectors import UnitVectors, exactly_unit
from nlpx.embed.vectors import open_vectors, write_vectors

CHECKED_QUERIES = 16


def write_index(path: Path, num_rows: int, dim: int) -> None:
    """Vectors around a common direction with columns of different spread, as encoders make them."""
    chance = np.random.default_rng(0)
    scales, centre = (np.arange(1, dim + 1) ** -0.5).astype(np.float32), chance.normal(size=dim) / 4
    with write_vectors(path, rows=num_rows, columns=dim) as writer:
        for start in range(0, num_rows, 1 << 16):
            count = min(1 << 16, num_rows - start)
            writer.write(chance.standard_normal((count, dim), dtype=np.float32) * scales + centre)


def products_alone(queries: np.ndarray, index: np.ndarray) -> None:
    """The same products into the same buffer, of an index that is in memory and at length 1 already."""
    buffer = np.empty(QUERY_ROWS * INDEX_ROWS, dtype=np.float32)
    for start in range(0, len(index), INDEX_ROWS):
        block = index[start : start + INDEX_ROWS]
        for first in range(0, len(queries), QUERY_ROWS):
            part = queries[first : first + QUERY_ROWS]
            np.matmul(part, block.T, out=buffer[: len(part) * len(block)].reshape(len(part), len(block)))


def check(queries: np.ndarray, index: UnitVectors, unit: np.ndarray, top: int) -> None:
    """The hits are those of all cosines sorted in float64, equal ones by index."""
    few = queries[:CHECKED_QUERIES]
    cosines, indices = search(few, index, top)
    for number, query in enumerate(exactly_unit(few)):
        products = np.concatenate(
            [unit[at : at + 65536].astype(np.float64) @ query for at in range(0, len(unit), 65536)]
        )
        expected = np.argsort(-products, kind="stable")[:top]
        assert np.abs(products[expected] - cosines[number]).max() < 1e-6
        # What was scaled in float32 may order hits that are equal to seven digits in another way.
        apart = np.abs(np.diff(products[np.argsort(-products, kind="stable")[: top + 1]])).min() > 1e-6
        assert not apart or np.array_equal(indices[number], expected)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 1_000_000), ("dim", 256), ("queries", 4096), ("top", 10), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.npy"
        write_index(path, chosen.rows, chosen.dim)
        queries = np.random.default_rng(1).standard_normal((chosen.queries, chosen.dim), dtype=np.float32)
        index = UnitVectors(open_vectors(path))
        search(queries, index, chosen.top)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        unit = np.concatenate([block.copy() for _, block in index.blocks(INDEX_ROWS)])
        check(queries, index, unit, chosen.top)
        normal = exactly_unit(queries).astype(np.float32)
        variants: list[Variant] = [
            ("product alone, index in memory", lambda: products_alone(normal, unit)),
            (f"nlpx, top {chosen.top}, index on disk", lambda: search(queries, index, chosen.top)),
            ("nlpx, top 100, index on disk", lambda: search(queries, index, min(100, chosen.rows))),
        ]
        seconds = in_process(variants, time.process_time, chosen.rounds)
    rows = []
    for (name, _), times in zip(variants, seconds, strict=True):
        rate = 2 * chosen.rows * chosen.dim * chosen.queries / statistics.median(times) / 1e9
        rows.append([name, f"{statistics.median(times):.2f}", f"{rate:.1f}", spread(ratios(seconds[0], times))])
    print(f"{chosen.queries:,} queries, {chosen.rows:,} x {chosen.dim}; hits equal those of brute force")
    print(f"peak memory of a search: {peak:.0f} MB\n")
    print(markdown(("variant", "CPU seconds", "GFLOP/s", "rate of the product (median, smallest-largest)"), rows))


if __name__ == "__main__":
    main()
