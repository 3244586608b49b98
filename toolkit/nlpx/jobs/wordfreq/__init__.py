"""`nlpx wordfreq`: from files to counts, and from counts to a table in a file, a plot and a sentence that sums up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from nlpx.data.corpus.count_tables import CountFormat, write_counts
from nlpx.errors import UsageError

if TYPE_CHECKING:
    from nlpx.counting.counts import Counts
    from nlpx.counting.settings import CountSettings
    from nlpx.counting.small import SmallCounts
    from nlpx.messages import Messages

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
FORMAT_OF_SUFFIX: dict[str, CountFormat] = {".jsonl": "jsonl", ".ndjson": "jsonl"}
_NOUNS = {"word": "words", "char": "characters", "ngram": "n-grams", "token": "tokens"}


def parse_size(text: str) -> int:
    """Return the bytes of `500MB`, `2GiB` or a plain number. Raises UsageError for everything else."""
    import re

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    size = 0 if found is None else int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()])
    if size <= 0:
        raise UsageError(f"`{text}` is no size", hint="such as 500MB, 2GiB or a number of bytes")
    return size


def check_destinations(output: str | None, plot: str | None) -> None:
    """Refuse before an hour of counting what could not be written after it.

    Raises UsageError for a folder in place of a file, InputError for a folder without the right to write in it,
    MachineError for a plot without matplotlib.
    """
    from nlpx.faults import refuse_unwritable

    for option, path in (("--out", output), ("--plot", plot)):
        if path is not None and os.path.isdir(path):  # noqa: PTH112 - before pathlib is needed
            raise UsageError(f"{option}: {path} is a folder", hint="name a file in it")
        if path is not None:
            refuse_unwritable(path)
    if plot is not None:
        from nlpx.report.plots import available

        if not available():
            from nlpx.errors import MachineError, install_hint

            raise MachineError("--plot needs matplotlib, which is not installed", hint=install_hint("plot"))


def count_files(files: Sequence[str], settings: CountSettings, messages: Messages, *, format: str | None) -> Counts:
    """Return the counts of texts, a context that removes its temporary files.

    `format` is that of all inputs, None: by suffix. Raises what the sources, the readers and the segmenters raise.
    """
    from nlpx.counting.engine import count
    from nlpx.data.opening.sources import find_sources

    sources = find_sources(files, format=format, encoding=settings.encoding)
    if settings.field != "text" and all(source.format == "txt" for source in sources):
        messages.warn(f"--field {settings.field} has no effect on plain text; --input-format names another format")
    return count(sources, settings, messages)


def format_for(path: str | None, format: CountFormat | None) -> CountFormat:
    """The form of an output: the one asked for, else the one its suffix says, else tab-separated."""
    if format is not None:
        return format
    return FORMAT_OF_SUFFIX.get(os.path.splitext(path or "")[1].lower(), "tsv")  # noqa: PTH122


def write(counts: Counts | SmallCounts, stream: TextIO, *, format: CountFormat, top: int | None, min_count: int) -> int:
    """Write the counts to a stream and return the number of lines; in constant memory."""
    return write_counts(counts.ranked(top=top, min_count=min_count), stream, format=format)


def write_file(counts: Counts | SmallCounts, path: str, *, format: CountFormat, top: int | None, min_count: int) -> int:
    """Write the counts to a file that appears when it is whole, and return the number of lines."""
    from nlpx.io import write_atomically

    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        return write(counts, stream, format=format, top=top, min_count=min_count)


def draw(counts: Counts | SmallCounts, path: str, *, unit: str) -> str:
    """Draw rank and frequency of all counts and return the sentence about the fit."""
    from pathlib import Path

    from nlpx.report.zipf import METHOD, fit_zipf, log_spaced, plot_zipf

    points = log_spaced(count for _, count in counts.ranked())
    fit = fit_zipf(points)
    if not plot_zipf(points, fit, Path(path), unit=unit):
        return f"nothing was counted, so there is no {path}"
    if fit is None:
        return f"{path}: too few counts for a fit"
    return f"{path}: Zipf exponent {fit.exponent:.3f} ({METHOD})"


def without_text(num_rows: int) -> str:
    """The sentence about rows that cannot be counted."""
    return f"{num_rows:,} rows have no text and are not counted" if num_rows > 1 else "1 row has no text"


def summary(counts: Counts | SmallCounts, seconds: float, *, unit: str) -> str:
    """The totals in one sentence: texts, tokens, distinct ones, bytes, seconds, rate; without texts what was added."""
    if not counts.num_texts:
        return f"{counts.total:,} in all, {counts.distinct:,} distinct, in {seconds:.1f} s"
    parts = [f"{counts.num_texts:,} texts", f"{counts.total:,} {_NOUNS[unit]}", f"{counts.distinct:,} distinct"]
    megabytes = counts.num_bytes / 1e6
    rate = f" ({megabytes / seconds:.1f} MB/s)" if seconds > 0 else ""
    return f"{', '.join(parts)}, {megabytes:.1f} MB in {seconds:.1f} s{rate}"
