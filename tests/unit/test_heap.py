"""Memory that was freed goes back to the system, once a minute."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from nlpx.train import heap as module
from nlpx.train.heap import EVERY_SECONDS, Heap


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(module._trim_of_the_library() is None, reason="the C library keeps what it has")
def test_freed_pieces_between_living_ones_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    heap = Heap()
    tensors = [torch.ones(25_000) for _ in range(3000)]  # 100 kB each, below the size that gets pages of its own
    living = tensors[::50]
    del tensors
    before = _resident_megabytes()
    heap.tidy()
    assert _resident_megabytes() > before - 50  # it is not time yet
    monkeypatch.setattr(heap, "_asked", heap._asked - EVERY_SECONDS)
    heap.tidy()
    assert _resident_megabytes() < before - 150
    assert all(bool((each == 1).all()) for each in living)


def test_it_is_asked_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [1000.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    heap = Heap()
    monkeypatch.setattr(heap, "_trim", lambda pad: asked.append(now[0]))
    for _ in range(300):
        now[0] += 1
        heap.tidy()
    assert asked == [1060, 1120, 1180, 1240, 1300]


def test_a_library_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    heap = Heap()
    monkeypatch.setattr(heap, "_asked", heap._asked - EVERY_SECONDS)
    heap.tidy()
