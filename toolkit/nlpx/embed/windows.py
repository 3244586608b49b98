"""A stream of texts as windows, and a folder in which the vectors of each window stay until all are there.

A window is encoded as a whole, so its vectors depend on its texts and on the settings, on nothing else. Its file is
named by a digest of both: whatever stops the work, the next run finds what is done, and never takes what was made of
other texts or in another way. Several processes share one folder without communicating.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpx.embed.vectors import open_vectors, write_vectors
from nlpx.errors import ResultError

WINDOW_TEXTS = 4096  # embedded together: sorting by length saves padding, and a kill loses at most so many
WINDOW_CHARACTERS = 1 << 22  # whole books a line should not fill the memory

Floats = NDArray[np.floating[Any]]


def windows(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield consecutive texts, at most `WINDOW_TEXTS` and about `WINDOW_CHARACTERS` at a time."""
    window: list[str] = []
    num_characters = 0
    for text in texts:
        window.append(text)
        num_characters += len(text)
        if len(window) == WINDOW_TEXTS or num_characters >= WINDOW_CHARACTERS:
            yield window
            window, num_characters = [], 0
    if window:
        yield window


@dataclass(frozen=True, slots=True)
class Window:
    """Some consecutive texts: where their vectors are, or will be."""

    path: Path
    first: int  # number of its first text, from 0
    rows: int

    @property
    def is_done(self) -> bool:
        return self.path.exists()

    def write(self, vectors: Floats, *, dtype: str) -> None:
        """Keep the vectors (rows, columns). Raises ResultError naming a text whose vector is not finite in `dtype`."""
        with np.errstate(over="ignore"):
            stored = vectors.astype(dtype)
        if not np.isfinite(stored).all():
            row = int(np.argmin(np.isfinite(stored).all(axis=1)))
            hint = "--dtype float32 reaches further" if np.isfinite(vectors).all() else "are the model's weights sound?"
            raise ResultError(f"text {self.first + row + 1:,}: its vector is not finite in {dtype}", hint=hint)
        with write_vectors(self.path, rows=len(stored), columns=stored.shape[1], dtype=dtype) as writer:
            writer.write(stored)


class WindowFolder:
    """Names the windows of a stream; `settings` is everything that vectors depend on besides the texts."""

    def __init__(self, folder: Path, settings: Any) -> None:
        self.folder, self.settings = folder, settings
        self.num_windows = self.num_texts = 0

    def add(self, texts: Sequence[str]) -> Window:
        """The next window of the stream."""
        content = json.dumps([self.settings, texts]).encode()
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        window = Window(self.folder / f"{self.num_windows:07d}-{digest}.npy", self.num_texts, len(texts))
        self.num_windows += 1
        self.num_texts += len(texts)
        return window


def rows_between(found: Iterable[Window], start: int, stop: int) -> Iterator[Floats]:
    """Yield the vectors of the texts [start, stop) from finished windows, in order and in parts."""
    for window in found:
        if window.first >= stop or window.first + window.rows <= start:
            continue
        first = window.first
        for part in open_vectors(window.path).chunks():
            yield part[max(0, start - first) : max(0, stop - first)]
            first += len(part)
