"""What to count and how: plain values, so that counting a small file does not pay for a configuration library."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from nlpx.errors import UsageError

Unit = Literal["word", "char", "ngram", "token"]

UNITS = ("word", "char", "ngram", "token")
PARTS = ("char", "word")
ENGINES = ("local", "dask")
LONGEST_NGRAM = 5
GIB = 1 << 30
# What an interpreter with numpy and a segmenter's dictionary takes before it counts anything.
PROCESS_BYTES = 96 << 20
LEAST_MEMORY = 2 * PROCESS_BYTES  # the first process and one worker
# Most words of a text are in a small table; handing it over and beginning anew costs no time, and memory then follows
# neither the length of the text nor its vocabulary.
WORD_TABLE_BYTES = 16 << 20


@dataclass(frozen=True)
class CountSettings:
    """Settings of one count.

    `ngram` (1 to 5) and `of` matter for the unit "ngram" only. `workers` None: one a core. `block_bytes` None: from
    the size of the input. `memory` bounds all processes together; `table_bytes` overrides what follows from it for
    the table of one process. `checkpoint` is a directory from which a killed count continues.
    """

    unit: str = "word"
    ngram: int = 2
    of: str = "char"
    words_only: bool = False
    hmm: bool = True
    segmenter: str = "auto"
    user_dictionary: str | None = None
    tokenizer: str | None = None
    field: str = "text"
    encoding: str = "utf-8"
    errors: Literal["strict", "replace"] = "strict"
    workers: int | None = None
    block_bytes: int | None = None
    memory: int = 2 * GIB
    table_bytes: int | None = None
    checkpoint: str | None = None
    checkpoint_bytes: int = 64 << 20
    engine: str = "local"
    scheduler: str | None = None

    @property
    def num_workers(self) -> int:
        """How many processes count: at most as many as `memory` holds."""
        requested = self.workers or available_cores()
        return max(1, min(requested, self.memory // PROCESS_BYTES - 1))

    @property
    def worker_table_bytes(self) -> int:
        """Bytes the table of one worker may take. Writing it out takes some more for a moment."""
        if self.table_bytes is not None:
            return self.table_bytes
        free = self.memory - PROCESS_BYTES * (self.num_workers + 1)
        share = max(free // self.num_workers, PROCESS_BYTES // 2) * 2 // 3
        return min(share, WORD_TABLE_BYTES) if self.counts_words else share

    @property
    def result_bytes(self) -> int:
        """Bytes the result may take in the first process, once the workers have ended."""
        if self.table_bytes is not None:
            return self.table_bytes
        return (self.memory - PROCESS_BYTES) * 2 // 3

    @property
    def counts_words(self) -> bool:
        """Whether single words are what is counted."""
        return self.segments_words and (self.unit == "word" or self.ngram == 1)

    @property
    def segments_words(self) -> bool:
        """Whether a word segmenter is needed."""
        return self.unit == "word" or (self.unit == "ngram" and self.of == "word")


def available_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check(settings: CountSettings) -> None:
    """Raise UsageError for settings that cannot be."""
    _check_choice("unit", settings.unit, UNITS)
    _check_choice("part of n-grams", settings.of, PARTS)
    _check_choice("engine", settings.engine, ENGINES)
    if not 1 <= settings.ngram <= LONGEST_NGRAM:
        raise UsageError(f"n-grams of {settings.ngram} cannot be counted", hint=f"give 1 to {LONGEST_NGRAM}")
    if settings.unit == "token" and settings.tokenizer is None:
        raise UsageError("the unit `token` needs a tokenizer", hint="name a checkpoint or a vocab.txt")
    if settings.workers is not None and settings.workers < 1:
        raise UsageError(f"{settings.workers} workers cannot count", hint="give at least 1")
    if settings.block_bytes is not None and settings.block_bytes < 1:
        raise UsageError(f"blocks of {settings.block_bytes} bytes hold no text", hint="give at least 1")
    if settings.memory < LEAST_MEMORY:
        least = f"{LEAST_MEMORY >> 20} MiB"
        raise UsageError(f"{settings.memory:,} bytes of memory are too few", hint=f"give at least {least}")
    if settings.engine == "dask" and settings.checkpoint:
        raise UsageError("a count on Dask keeps no checkpoint", hint="leave one of the two out")


def _check_choice(what: str, name: str, choices: tuple[str, ...]) -> None:
    if name not in choices:
        raise UsageError(f"unknown {what} `{name}`", hint=f"choose one of {', '.join(choices)}")
