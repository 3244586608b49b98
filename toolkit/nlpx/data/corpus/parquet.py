"""A column of a Parquet file as texts, one row group after the other; pyarrow is imported only here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nlpx.data.corpus.fields import column_of
from nlpx.data.corpus.pieces import Reading
from nlpx.data.opening.sources import Source
from nlpx.data.opening.streams import open_stream
from nlpx.errors import InputError, MachineError, UsageError, install_hint, reason_of

_BATCH_ROWS = 1000


def parquet_texts(
    source: Source, reading: Reading, *, part: int = 0, num_parts: int = 1, keep_empty: bool = False
) -> Iterator[str]:
    """Yield the texts of every `num_parts`-th row group; a row where the column is null has an empty text.

    Raises what `open_parquet` raises, InputError for a missing column and for one that holds no text.
    """
    with open_parquet(source) as file:
        _check_column(file.schema_arrow, source, reading.field)
        for group in range(part, file.num_row_groups, num_parts):
            texts = _group_texts(file, group, source, reading.field)
            yield from (text for text in texts if keep_empty or (text and not text.isspace()))


@contextmanager
def open_parquet(source: Source) -> Iterator[Any]:
    """Open a Parquet file for reading in parts.

    Raises MachineError without pyarrow, InputError for a broken file (also while it is read), UsageError for pipes and
    packed files: the table of contents stands at the end.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MachineError("reading Parquet needs the extra `data`", hint=install_hint("data")) from None
    if source.size is None or source.compression is not None:
        what = "Parquet can only be read from a file that opens at any place, not from a pipe"
        raise UsageError(f"{source.name}: {what}", hint="fetch or unpack the file first")
    with open_stream(source) as stream:
        try:
            yield ParquetFile(stream)
        except UnicodeDecodeError:
            raise InputError(f"{source.name}: a column holds bytes that are not UTF-8", hint="write it again") from None
        except (pyarrow.ArrowException, OSError) as error:
            what = f"not a whole Parquet file ({reason_of(error)})"
            raise InputError(f"{source.name}: {what}", hint="fetch it again") from None


def _check_column(schema: Any, source: Source, field: str) -> None:
    import pyarrow

    kind = schema.types[column_of(schema.names, source.name, field)]
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        raise InputError(f"{source.name}: column `{field}` holds {kind}, not text", hint="choose with --field")


def _group_texts(file: Any, group: int, source: Source, field: str) -> Iterator[str]:
    batches = file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=[field], use_threads=False)
    for batch in batches:
        try:
            values = batch.column(0).to_pylist()
        except UnicodeDecodeError:
            what = f"column `{field}` holds bytes that are not UTF-8 in row group {group + 1}"
            raise InputError(f"{source.name}: {what}", hint="write the file again") from None
        yield from (value or "" for value in values)
