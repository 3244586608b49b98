"""The counts of a corpus, and the folder for what of them does not fit in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nlpx.counting.results import Ranked, Result
from nlpx.io import process_is_alive

_PREFIX = "nlpx-count-"


@dataclass
class Counts:
    """What was counted; a context that removes its temporary files.

    `total` counts occurrences, `distinct` keys, `num_texts` lines or rows with text, `num_bytes` the input as stored.
    `segmenter` names what segmented the texts; `num_empty` counts rows whose text is null or empty.
    """

    result: Result
    num_texts: int
    num_bytes: int
    segmenter: str
    folder: Path
    num_empty: int = 0

    @property
    def total(self) -> int:
        return self.result.total

    @property
    def distinct(self) -> int:
        return self.result.distinct

    def ranked(self, top: int | None = None, min_count: int = 1) -> Ranked:
        """Yield keys and counts by descending count, equal ones by code point, from memory or from disk."""
        return self.result.ranked(top, min_count)

    def close(self) -> None:
        """Remove the temporary files; nothing can be ranked after that."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Counts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that outlives the context only if nothing was raised in it. Those of dead processes are removed."""
    for stale in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        number = stale.name.removeprefix(_PREFIX).split("-")[0]
        if number.isdigit() and not process_is_alive(int(number)):
            shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
