"""What several processes gain, measured on the user's own texts; nothing is promised.

A post of kexue.fm compares three methods to count words: one growing dictionary, a dictionary for each 1,000 texts that
is merged at the end, and the same in a pool of processes. The fair speed-up per process compares the pool with the
second method, which does the same work; against the first it may seem to be above one.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from nlpx.errors import InputError, UsageError
from nlpx.messages import Messages, Silent

if TYPE_CHECKING:
    from nlpx.counting.segmentation.segmenters import WordSegmenter
    from nlpx.counting.settings import CountSettings

SAMPLE_BYTES = 8_000_000  # of the input: some seconds of plain jieba
BATCH_TEXTS = 1000  # as in the post that is compared with
COLUMNS = ("method", "processes", "seconds", "MB/s", "times naive", "a process vs naive", "vs batched (fair)")

Table = dict[str, int]

# Of this process, inherited or made by `_start_worker`: a segmenter cannot be sent to a worker.
_segmenter: WordSegmenter | None = None


class Timing(NamedTuple):
    """One method to count a sample: its name, what it is compared with, its processes and seconds."""

    method: str
    family: str
    num_processes: int
    seconds: float


def measure(
    files: Sequence[str], settings: CountSettings, messages: Messages, *, format: str | None = None
) -> list[Timing]:
    """Time jieba and nlpx on the first texts of a corpus and print a table; warns if their counts differ.

    Raises UsageError for another unit than words and for stdin, which cannot be read twice.
    """
    if settings.unit != "word":
        raise UsageError("--timings compares methods to count words", hint="leave out one of --timings and --unit")
    texts = _sample(files, settings, format)
    num_bytes = sum(len(text.encode()) + 1 for text in texts)
    messages.note(f"timing the first {num_bytes / 1e6:.1f} MB ({len(texts):,} texts), about 3 s a MB")
    timings, tables = [], []
    with TemporaryDirectory(prefix="nlpx-timings-") as folder:
        for method, family, num_processes, work in _methods(texts, settings, Path(folder)):
            started = time.perf_counter()
            tables.append(work())
            timings.append(Timing(method, family, num_processes, time.perf_counter() - started))
    messages.table(COLUMNS, rows(timings, num_bytes))
    if any(table != tables[0] for table in tables[1:]):
        messages.warn("the methods do not agree on the counts: please report it with these texts")
    return timings


def rows(timings: Sequence[Timing], num_bytes: int) -> list[list[str]]:
    """The table: seconds, rate, and the speed-up of one process, T_single / (processes x T), against both methods."""
    naive = timings[0].seconds
    single = {
        timing.family: timing.seconds for timing in reversed(timings) if timing.num_processes == 1 and timing.family
    }
    made = []
    for timing in timings:
        spent = timing.num_processes * timing.seconds
        fair = f"{single[timing.family] / spent:.2f}" if timing.num_processes > 1 else "-"
        speed, times = f"{num_bytes / timing.seconds / 1e6:.2f}", f"{naive / timing.seconds:.2f}"
        made.append(
            [
                timing.method,
                str(timing.num_processes),
                f"{timing.seconds:.2f}",
                speed,
                times,
                f"{naive / spent:.2f}",
                fair,
            ]
        )
    return made


def _sample(files: Sequence[str], settings: CountSettings, format: str | None) -> list[str]:
    from nlpx.counting.portions import reading_of
    from nlpx.data.corpus.texts import find_sources, read_texts

    sources = find_sources(files, format=format)
    if any(not source.repeatable for source in sources):
        raise UsageError("--timings needs texts that can be read again", hint="name a file instead of stdin")
    texts, room = [], SAMPLE_BYTES
    for source in sources:
        for text in read_texts(source, reading_of(settings)):
            texts.append(text.replace("\n", " "))
            room -= len(text.encode())
            if room <= 0:
                return texts
    if not texts:
        raise InputError("there is no text to time", hint="name files with text in them")
    return texts


def _methods(
    texts: list[str], settings: CountSettings, folder: Path
) -> Iterator[tuple[str, str, int, Callable[[], Table]]]:
    """Each method by name, family, processes and function; dictionaries load before the function is handed out."""
    workers = settings.num_workers
    _start_worker(settings.hmm, settings.user_dictionary)
    file = folder / "sample.txt"
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    yield "jieba, one dictionary", "", 1, lambda: _naive(texts)
    yield f"jieba, {BATCH_TEXTS} texts each", "jieba", 1, lambda: _merged(map(_count_batch, _batches(texts)))
    yield "jieba, pool", "jieba", workers, lambda: _pooled(texts, settings, workers)
    yield "nlpx", "nlpx", 1, lambda: _ours(file, settings, 1)
    yield "nlpx", "nlpx", workers, lambda: _ours(file, settings, workers)


def _start_worker(hmm: bool, user_dictionary: str | None) -> None:
    from nlpx.counting.segmentation.segmenters import build_word_segmenter

    global _segmenter
    if _segmenter is None:
        _segmenter = build_word_segmenter("jieba", hmm=hmm, user_dictionary=user_dictionary)
        _segmenter.segment("词")


def _naive(texts: Sequence[str]) -> Table:
    assert _segmenter is not None
    table: Table = {}
    for text in texts:
        for word in _segmenter.segment(text):
            table[word] = table.get(word, 0) + 1
    return _without_space(table)


def _count_batch(texts: Sequence[str]) -> Counter[str]:
    assert _segmenter is not None
    return Counter(word for text in texts for word in _segmenter.segment(text))


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + BATCH_TEXTS] for start in range(0, len(texts), BATCH_TEXTS))


def _merged(counters: Iterator[Counter[str]]) -> Table:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return _without_space(total)


def _pooled(texts: Sequence[str], settings: CountSettings, workers: int) -> Table:
    arguments = (settings.hmm, settings.user_dictionary)
    with multiprocessing.Pool(workers, initializer=_start_worker, initargs=arguments) as pool:
        return _merged(pool.imap_unordered(_count_batch, _batches(texts)))


def _without_space(table: Table) -> Table:
    return {word: count for word, count in table.items() if not word.isspace()}


def _ours(file: Path, settings: CountSettings, workers: int) -> Table:
    from nlpx.counting.engine import count
    from nlpx.counting.settings import CountSettings
    from nlpx.data.opening.sources import find_sources

    plain = CountSettings(
        hmm=settings.hmm, segmenter=settings.segmenter, user_dictionary=settings.user_dictionary, workers=workers
    )
    with count(find_sources([str(file)], format="txt"), plain, Silent()) as counts:
        return dict(counts.ranked())
