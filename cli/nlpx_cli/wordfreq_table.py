"""Counts as a table with bars, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

_BAR_WIDTH = 30  # columns of 80


def print_table(rows: Iterable[tuple[str, int]], total: int) -> int:
    """Print descending counts with fraction, cumulative fraction and a bar; returns the number of rows."""
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from nlpx.data.corpus.count_tables import escape
    from nlpx_cli.terminal import clean, raw_stdout

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in (("word", "left"), ("count", "right"), ("fraction", "right"), ("up to here", "right")):
        table.add_column(title, justify=side, no_wrap=title != "word")  # type: ignore[arg-type]
    table.add_column("", no_wrap=True, ratio=1)
    sum_so_far, largest = 0, 0
    for word, count in rows:
        largest = largest or count
        sum_so_far += count
        fractions = (f"{100 * part / total:.2f} %" for part in (count, sum_so_far))
        table.add_row(Text(clean(escape(word))), f"{count:,}", *fractions, Bar(largest, 0, count, width=_BAR_WIDTH))
    if table.row_count:
        Console(file=raw_stdout()).print(table)
    return table.row_count
