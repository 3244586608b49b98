"""Counting a corpus: in this process if it is small, in several if it is not, on a cluster if one is named."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, islice
from pathlib import Path

from nlpx.counting.checkpoints import Checkpoint, open_checkpoint
from nlpx.counting.counts import Counts, temporary_folder
from nlpx.counting.portions import OnBytes, Portion, PortionCounter, reading_of
from nlpx.counting.results import collect
from nlpx.counting.settings import CountSettings, check
from nlpx.counting.units import counts_character_grams
from nlpx.counting.work import (
    PACKED_RATIO,
    Reader,
    WorkItem,
    choose_block_bytes,
    choose_num_parts,
    plan_work,
    read_item,
    stream_work,
)
from nlpx.data.opening.sources import Source
from nlpx.errors import UsageError
from nlpx.messages import Messages

# Bytes of text that one process counts before others would have been started and have loaded what they need.
_SMALL = {"word": 2 << 20, "token": 2 << 20, "ngram": 4 << 20, "char": 32 << 20}
_BAR_BYTES = 8 << 20  # below it a count is over before a bar could be read
MEGABYTE = 1_000_000  # as rates are given: decimal

Portions = Generator[Portion, None, None]


def count(
    sources: Sequence[Source], settings: CountSettings, messages: Messages, *, read: Reader = read_item
) -> Counts:
    """Count all texts of some sources, exactly.

    `read` gives the texts of an item. Raises UsageError for settings that cannot be, InputError for what cannot be
    read, MachineError for a full disk, for lack of memory and for a worker that dies twice.
    """
    check(settings)
    reading_of(settings).check()
    with temporary_folder() as folder:
        job = _Job(sources, settings, messages, folder, read)
        runs, num_texts, num_empty = job.count()
        result = collect(
            runs,
            folder=folder,
            limit=settings.result_bytes,
            characters=settings.ngram if counts_character_grams(settings) else None,
        )
    return Counts(result, num_texts, job.num_bytes, job.segmenter, folder, num_empty)


class _Job:
    """One count on its way."""

    def __init__(
        self,
        sources: Sequence[Source],
        settings: CountSettings,
        messages: Messages,
        folder: Path,
        read: Reader,
    ) -> None:
        self.settings = settings
        self.messages = messages
        self.folder = folder
        self.read = read
        self.sources = sources
        self.num_bytes = 0
        self.segmenter = ""

    def count(self) -> tuple[list[Path], int, int]:
        """The runs with all counts, the number of texts in them, and that of rows without one."""
        if self.settings.checkpoint is None:
            # Closed at once whatever happens here: it holds the workers.
            with closing(self._portions(self._plan(None))) as portions:
                return self._collect(portions, self.folder)
        with open_checkpoint(self.sources, self.settings) as checkpoint:
            return self._resume(checkpoint)

    def _resume(self, checkpoint: Checkpoint) -> tuple[list[Path], int, int]:
        self.folder, scratch = checkpoint.folder, self.folder
        finished = checkpoint.finished
        items = [item for item in self._plan(checkpoint) if item.index not in finished]
        if finished:
            self.messages.note(f"{checkpoint.folder}: {len(finished)} blocks are done, {len(items)} are left")
        with closing(self._portions(items)) as portions:
            for portion in portions:
                checkpoint.record(portion)
        self.folder = scratch
        return self._collect(checkpoint.portions, checkpoint.folder)

    @staticmethod
    def _collect(portions: Iterable[Portion], folder: Path) -> tuple[list[Path], int, int]:
        runs, num_texts, num_empty = [], 0, 0
        for portion in portions:
            runs += [folder / name for name in portion.runs]
            num_texts += portion.num_texts
            num_empty += portion.num_empty
        return runs, num_texts, num_empty

    def _plan(self, checkpoint: Checkpoint | None) -> list[WorkItem]:
        block_bytes = checkpoint.block_bytes if checkpoint else choose_block_bytes(self.sources, self.settings)
        num_parts = checkpoint.num_parts if checkpoint else choose_num_parts(self.sources, self.settings)
        lasting = [source for source in self.sources if source.repeatable]
        items = plan_work(lasting, block_bytes=block_bytes, num_parts=num_parts)
        self.num_bytes = sum(source.size or 0 for source in lasting)
        return items

    def _portions(self, planned: list[WorkItem]) -> Portions:
        streams = [source for source in self.sources if not source.repeatable]
        if self.settings.engine == "dask":
            return self._on_cluster(planned, streams)
        items: Iterable[WorkItem] = planned
        here = self.settings.num_workers == 1 or any(source.format not in ("txt", "jsonl") for source in streams)
        if streams:
            flow = self._measured(stream_work(streams, reading_of(self.settings), first=len(planned)))
            head = list(islice(flow, 2))
            here = here or (len(head) < 2 and self._is_small(planned))
            items = chain(planned, head, flow)
        elif self._is_small(planned) or len(planned) == 1:
            here = True
        total = None if streams or any(item.is_open_ended for item in planned) else _size(planned)
        return self._in_this_process(items, total) if here else self._in_workers(items, total)

    def _measured(self, items: Iterator[WorkItem]) -> Iterator[WorkItem]:
        for item in items:
            self.num_bytes += item.num_bytes
            yield item

    def _is_small(self, items: Sequence[WorkItem]) -> bool:
        if any(item.block.source.size is None for item in items):
            return False
        size = sum(item.num_bytes * (PACKED_RATIO if item.block.source.compression else 1) for item in items)
        return size <= _SMALL[self.settings.unit]

    def _in_this_process(self, items: Iterable[WorkItem], total: int | None) -> Portions:
        counter = PortionCounter(self.settings, self.folder, self.read, name=f"here-{time.time_ns()}")
        self.segmenter = counter.segmenter
        with self._progress(total) as on_bytes:
            for item in items:
                counter.count(item, on_bytes=on_bytes)
                on_bytes(0 if item.is_open_ended else item.num_bytes)
                if counter.is_due:
                    yield counter.finish_portion()
        yield counter.finish_portion()

    def _in_workers(self, items: Iterable[WorkItem], total: int | None) -> Portions:
        from nlpx.counting.workers import Pool

        with Pool(self.settings, self.folder, self.read) as pool:
            pool.start(items)  # before the bar: it has a thread, with which no process should be forked
            with self._progress(total) as on_bytes:
                yield from pool.portions(on_bytes)
            self.segmenter = pool.segmenter

    def _on_cluster(self, planned: list[WorkItem], streams: Sequence[Source]) -> Portions:
        from nlpx.counting.cluster import portions_from_cluster

        if streams:
            raise UsageError(f"{streams[0].name} cannot be read by a cluster", hint="write it to a file first")
        with self._progress(_size(planned)) as on_bytes:
            for portion, segmenter in portions_from_cluster(planned, self.settings, self.folder, on_bytes):
                self.segmenter = segmenter
                yield portion

    @contextmanager
    def _progress(self, total: int | None) -> Iterator[OnBytes]:
        """How far it is, in megabytes, with their rate; nothing is shown where it would be over at once."""
        if total is not None and total < _BAR_BYTES:
            yield lambda _: None
            return
        start, done = time.monotonic(), 0
        with ExitStack() as stack:
            most = None if total is None else -(-total // MEGABYTE)
            bar = stack.enter_context(self.messages.progress(most, "counting, MB"))

            def on_bytes(number: int) -> None:
                nonlocal done
                done += number
                rate = done / MEGABYTE / max(time.monotonic() - start, 1e-9)
                bar.update(done // MEGABYTE, rate=f"{rate:.1f} MB/s")

            yield on_bytes


def _size(items: Iterable[WorkItem]) -> int:
    return sum(item.num_bytes for item in items)
