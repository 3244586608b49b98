"""The records of a run for TensorBoard, beside `metrics.jsonl`. Optional, and imported on request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nlpx.errors import MachineError, install_hint

# What places a record is no curve.
PLACES = frozenset({"step", "epoch", "split"})


class TensorBoard:
    """Writes every number of a record as a curve named `split/key`."""

    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MachineError(
                "train.tensorboard is on, but TensorBoard is not installed", hint=install_hint("track")
            ) from None
        self._writer = SummaryWriter(str(directory))

    def write(self, record: Mapping[str, Any]) -> None:
        """Add the numbers of one record at its step."""
        for name, value in numbers(record):
            self._writer.add_scalar(f"{record['split']}/{name}", value, record["step"])

    def close(self) -> None:
        """Write out what is still held back."""
        self._writer.close()


def numbers(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number of nested mappings with its path, `variants/ssA/f1`; lists are no curves."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and (prefix or key not in PLACES):
            yield f"{prefix}{key}", value
