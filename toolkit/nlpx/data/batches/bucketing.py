"""Batches of texts of similar length, so that little is padding.

For training, rows are shuffled into big pools, sorted by length inside each, split by a budget of padded
tokens, and the batches shuffled: a pure function of the lengths, the limits, the seed and the epoch. For
evaluation, the same over windows in file order. A batch is planned for all processes together, and each
takes its rows: the number of processes changes neither the batches nor their order.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpx.errors import InputError

Rows = NDArray[np.int64]

BATCHES_PER_POOL = 128  # more waste less padding, fewer mix the texts better
JITTER = 0.05  # of the lengths, where one pool holds all rows: else the same neighbours would meet every epoch
WINDOW = 4096  # rows sorted together where the order is to be restored


@dataclass(frozen=True)
class BatchLimits:
    """How many rows make a batch: so many padded tokens, or so many rows."""

    batch_tokens: int | None = None
    batch_size: int | None = None
    max_batch_size: int | None = None

    def __post_init__(self) -> None:
        if (self.batch_tokens is None) == (self.batch_size is None):
            raise ValueError("give either batch_tokens or batch_size")

    def num_rows(self, longest: int) -> int:
        """Rows of a batch whose longest text has `longest` tokens; at least one, however long that is."""
        if self.batch_tokens is None:
            return self.batch_size or 1
        fitting = max(1, self.batch_tokens // max(1, longest))
        return fitting if self.max_batch_size is None else min(fitting, self.max_batch_size)


@dataclass(frozen=True)
class BatchRows:
    """The rows of a batch that one process takes."""

    rows: list[int]
    num_tokens: int  # real tokens of the whole batch, over all processes
    counts: bool = True  # False: the batch had too few rows; these are repeated to keep step and weigh nothing


class BucketedBatches:
    """The batches of a training run and the place reached in them.

    `lengths` holds the tokens of each row; `batch_tokens`, `batch_size` and `max_batch_size` are limits
    over all processes together. Every row occurs exactly once per epoch. State is the epoch and the
    position in it.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_tokens: int | None = None,
        batch_size: int | None = None,
        max_batch_size: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        if not len(self.lengths):
            raise InputError("there is not one row to make batches of", hint="check the input files and their filters")
        self.limits = BatchLimits(batch_tokens, batch_size, max_batch_size)
        self.seed, self.shuffle = seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch, self.position = 0, 0
        self._planned: tuple[int, list[Rows]] | None = None

    def __len__(self) -> int:
        """Batches in the current epoch; with a token budget, epochs differ a little."""
        return len(self._current())

    @property
    def at_epoch_end(self) -> bool:
        """Whether every batch of the current epoch has been taken."""
        return self.position >= len(self)

    def take(self, count: int) -> list[BatchRows]:
        """The next `count` batches of this process; fewer at the end of an epoch, which no call crosses."""
        if self.at_epoch_end:
            self.epoch, self.position = self.epoch + 1, 0
        taken = self._current()[self.position : self.position + count]
        self.position += len(taken)
        return [self._rows_of_this_process(batch) for batch in taken]

    def plan(self, epoch: int) -> list[Rows]:
        """All batches of an epoch, over all processes."""
        if not self.shuffle:
            return list(_split_pools(np.arange(len(self.lengths)), self.lengths, self.lengths, self.limits, WINDOW))
        random = np.random.default_rng([self.seed, epoch])
        rows = random.permutation(len(self.lengths))
        pool_size = self.limits.num_rows(round(self.lengths.mean())) * BATCHES_PER_POOL
        jitter = JITTER if pool_size >= len(rows) else 0.0
        keys = self.lengths * random.uniform(1 - jitter, 1 + jitter, len(rows))
        batches = list(_split_pools(rows, keys, self.lengths, self.limits, pool_size))
        return [batches[index] for index in random.permutation(len(batches))]

    def num_updates(self, epochs: int, *, accumulation: int = 1) -> int:
        """Updates in the first `epochs` epochs if each consumes `accumulation` batches."""
        return sum(-(-len(self.plan(epoch)) // accumulation) for epoch in range(epochs))

    def state_dict(self) -> dict[str, int]:
        """The place reached, and a fingerprint of what the batches are made of."""
        return {"epoch": self.epoch, "position": self.position, "fingerprint": self._fingerprint()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state` was taken; other rows or limits, hence other batches, are an `InputError`."""
        if state["fingerprint"] != self._fingerprint():
            raise InputError(
                "the checkpoint was made with other rows, batch limits or another seed: its place is lost",
                hint="resume with the same data, tokenizer, `train.batch_*` and seed, or start a new run",
            )
        self.epoch, self.position = state["epoch"], state["position"]

    def _current(self) -> list[Rows]:
        if self._planned is None or self._planned[0] != self.epoch:
            self._planned = (self.epoch, self.plan(self.epoch))
        return self._planned[1]

    def _rows_of_this_process(self, batch: Rows) -> BatchRows:
        own = batch[self.rank :: self.world_size]
        rows = own if len(own) else batch[:1]
        return BatchRows(rows.tolist(), int(self.lengths[batch].sum()), counts=len(own) > 0)

    def _fingerprint(self) -> int:
        settings = f"{self.limits} {self.seed} {self.shuffle} {BATCHES_PER_POOL} {JITTER}"
        return zlib.crc32(self.lengths.tobytes(), zlib.crc32(settings.encode()))


def sequential_batches(
    lengths: Sequence[int],
    *,
    batch_tokens: int | None = None,
    batch_size: int | None = None,
    max_batch_size: int | None = None,
    window: int = WINDOW,
) -> list[list[int]]:
    """Batches for evaluation: windows in file order, each sorted by length; `in_row_order` undoes it."""
    limits = BatchLimits(batch_tokens, batch_size, max_batch_size)
    known = np.asarray(lengths, dtype=np.int64)
    return [batch.tolist() for batch in _split_pools(np.arange(len(known)), known, known, limits, window)]


def evenly_spaced(count: int, limit: int) -> Rows:
    """Return the numbers of all rows, or of `limit` of them spread evenly if there are more."""
    return np.unique(np.linspace(0, count - 1, num=min(limit, count)).round().astype(np.int64))


def evaluation_batches(lengths: Sequence[int] | Rows, *, limit: int, batch_tokens: int) -> list[list[int]]:
    """Batches of row numbers for an evaluation on at most `limit` rows, spread evenly."""
    chosen = evenly_spaced(len(lengths), limit)
    batches = sequential_batches(np.asarray(lengths)[chosen].tolist(), batch_tokens=batch_tokens)
    return [chosen[batch].tolist() for batch in batches]


def in_row_order(batches: Iterable[Sequence[int]], outputs: Iterable[Sequence[Any]]) -> list[Any]:
    """One output per row, batch by batch as `sequential_batches` made them, back in the order of the rows."""
    by_row = {
        row: output
        for rows, values in zip(batches, outputs, strict=True)
        for row, output in zip(rows, values, strict=True)
    }
    return [by_row[row] for row in sorted(by_row)]


def _split_pools(rows: Rows, keys: NDArray[Any], lengths: Rows, limits: BatchLimits, pool_size: int) -> Iterator[Rows]:
    """Sort each pool by its keys, from long to short, and split it into batches."""
    for start in range(0, len(rows), pool_size):
        pool = rows[start : start + pool_size]
        yield from _split_pool(pool[np.argsort(-keys[pool], kind="stable")], lengths, limits)


def _split_pool(rows: Rows, lengths: Rows, limits: BatchLimits) -> Iterator[Rows]:
    """Split a pool into batches, each as big as the longest row still to come allows."""
    longest_to_come = np.maximum.accumulate(lengths[rows][::-1])[::-1]
    start = 0
    while start < len(rows):
        end = start + limits.num_rows(int(longest_to_come[start]))
        yield rows[start:end]
        start = end
