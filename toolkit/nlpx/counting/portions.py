"""What one process does: count items into one table of its own, and hand the table over as sorted runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nlpx.counting.settings import CountSettings
from nlpx.counting.units import build_unit
from nlpx.counting.work import Reader, WorkItem
from nlpx.data.corpus.texts import Reading

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Portion:
    """Runs that hold the counts of whole items, exactly those, the texts in them, and rows without a text."""

    runs: tuple[str, ...]
    items: tuple[int, ...]
    num_texts: int
    num_empty: int = 0


class PortionCounter:
    """Counts items; the table is spilled whenever it is full."""

    def __init__(self, settings: CountSettings, folder: Path, read: Reader, *, name: str) -> None:
        self.unit, self.segmenter = build_unit(settings)
        self.settings = settings
        self._reading = reading_of(settings)
        self._folder = folder
        self._read = read
        self._name = name
        self._num_runs = 0
        self._start_portion()

    def _start_portion(self) -> None:
        self._runs: list[str] = []
        self._items: list[int] = []
        self._num_texts = self._num_empty = self._num_bytes = 0

    def count(self, item: WorkItem, *, on_bytes: OnBytes) -> None:
        """Count the texts of an item. Raises what reading raises, and MachineError if the disk is full.

        `on_bytes` is called with the progress within an item of unknown length.
        """
        for text, num_texts, num_empty in self._read(item, self._reading):
            self._num_texts += num_texts
            self._num_empty += num_empty
            if not text:
                continue
            self.unit.add(text)
            if self.unit.is_full():
                self._spill()
            if item.is_open_ended:
                on_bytes(len(text.encode()))
        self._items.append(item.index)
        self._num_bytes += item.num_bytes

    @property
    def is_due(self) -> bool:
        """Whether enough was counted for a portion of its own, where that is asked for or costs nothing more."""
        wanted = bool(self._runs) or self.settings.checkpoint is not None
        return wanted and self._num_bytes >= self.settings.checkpoint_bytes

    def finish_portion(self) -> Portion:
        """Write out what is in the table; the runs are the receiver's then."""
        self._spill()
        portion = Portion(tuple(self._runs), tuple(self._items), self._num_texts, self._num_empty)
        self._start_portion()
        return portion

    def _spill(self) -> None:
        path = self._folder / f"{self._name}-{self._num_runs}.run"
        self.unit.write(path)
        self._num_runs += 1
        self._runs.append(path.name)


def reading_of(settings: CountSettings) -> Reading:
    """How texts are read under some settings."""
    return Reading(field=settings.field, encoding=settings.encoding, errors=settings.errors)
