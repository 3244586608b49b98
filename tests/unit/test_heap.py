"""Memory that was freed goes back to the system when a run has grown."""

from __future__ import annotations

import sys

import pytest
import torch

from nlpx.train import heap as module
from nlpx.train.heap import Heap, resident_bytes

MEGABYTE = 1_000_000


@pytest.mark.skipif(module._trim_of_the_library() is None, reason="the C library keeps what it has")
def test_freed_pieces_between_living_ones_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN", 0.0)
    heap = Heap()
    tensors = [torch.ones(25_000) for _ in range(3000)]  # 100 kB each, below the size that gets pages of its own
    living = tensors[::50]
    del tensors
    before = resident_bytes()
    heap.tidy()
    assert resident_bytes() > before - 50 * MEGABYTE  # that is what a step needs, as far as is known
    monkeypatch.setattr(module, "GROWTH", 0.5)
    heap.tidy()
    assert resident_bytes() < before - 150 * MEGABYTE
    assert all(bool((each == 1).all()) for each in living)


def test_asked_when_the_process_has_doubled_but_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now, resident, asked = [1000.0], [0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "resident_bytes", lambda: resident[0])
    heap = Heap()

    def trim(_pad: int) -> None:
        asked.append((now[0], resident[0]))
        resident[0] = 90

    monkeypatch.setattr(heap, "_trim", trim)
    for _ in range(100):
        now[0] += 1
        resident[0] += 10
        heap.tidy()
    # it has doubled long before the 20 s are over, each time
    assert asked == [(1020, 200), (1040, 290), (1060, 290), (1080, 290), (1100, 290)]


def test_a_library_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(module, "GROWTH", 0.0)
    heap = Heap()
    for _ in range(3):
        heap.tidy()
