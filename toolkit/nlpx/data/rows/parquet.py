"""Rows of a Parquet file, some at a time; pyarrow is imported only here and where texts of one are read."""

from __future__ import annotations

from collections.abc import Iterator

from nlpx.data.corpus.parquet import open_parquet
from nlpx.data.opening.sources import Source
from nlpx.data.rows.reading import Row
from nlpx.errors import InputError

_BATCH_ROWS = 1000


def parquet_rows(source: Source) -> Iterator[Row]:
    """Yield the rows of a Parquet file, each at `name:row N`. Raises as `open_parquet`, InputError if empty."""
    number = 0
    with open_parquet(source) as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            for values in batch.to_pylist():
                number += 1
                yield Row(values, f"{source.name}:row {number}")
    if not number:
        raise InputError(f"{source.name} holds no rows")
