"""Adding up the tables of earlier counts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from nlpx.counting.counts import Counts, temporary_folder
from nlpx.counting.results import TextResult, collect
from nlpx.counting.settings import CountSettings
from nlpx.counting.units import TextTable
from nlpx.data.corpus.count_tables import read_counts
from nlpx.messages import Messages

_LINES_AT_ONCE = 1000  # between two looks at the size of the table


def merge_counts(paths: Sequence[str], settings: CountSettings, messages: Messages) -> Counts:
    """Add up the tables of earlier counts, within `settings.memory`. Raises InputError by file and line."""
    table = TextTable(settings.result_bytes)
    with temporary_folder() as folder:
        runs: list[Path] = []
        for path in paths:
            messages.detail(f"adding {path}")
            entries = read_counts(path)
            while part := list(islice(entries, _LINES_AT_ONCE)):
                for word, count in part:
                    table.counts[word] = table.counts.get(word, 0) + count
                table.grow(sum(len(word) for word, _ in part))
                if table.is_full():
                    runs.append(_written(table, folder, len(runs)))
        if not runs:
            return Counts(TextResult(table.counts), 0, 0, "", folder)
        runs.append(_written(table, folder, len(runs)))
        result = collect(runs, folder=folder, limit=settings.result_bytes)
    return Counts(result, 0, 0, "", folder)


def _written(table: TextTable, folder: Path, number: int) -> Path:
    path = folder / f"{number}.run"
    table.write(path)
    return path
