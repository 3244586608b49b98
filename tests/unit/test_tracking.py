"""TensorBoard gets every number of a record, and its absence is one sentence."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from nlpx.errors import MachineError
from nlpx.runs.tracking import TensorBoard, numbers

RECORD = {
    "step": 3,
    "epoch": 0,
    "split": "dev",
    "score": 0.5,
    "variants": {"ssA": {"f1": 0.25}},
    "bins": [1],
    "ok": True,
}


def test_numbers_are_named_by_their_path() -> None:
    assert dict(numbers(RECORD)) == {"score": 0.5, "variants/ssA/f1": 0.25}


def test_curves_can_be_read_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path)
    board.write(RECORD)
    board.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("dev/variants/ssA/f1")] == [(3, 0.25)]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name == "torch.utils.tensorboard":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MachineError, match="not installed") as caught:
        TensorBoard(tmp_path)
    assert caught.value.hint == "pip install 'nlpx-zh[track]'"
