"""How long a run takes: estimated before it, and what is left of it while it runs. No clock but a made one is read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nlpx.runs import timing
from nlpx.runs.following import num_left
from nlpx.runs.timing import Rates, Rehearsal
from nlpx.train.config import TrainConfig
from nlpx_cli import progress as progress_module
from nlpx_cli.progress import Progress


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def test_an_evaluation_does_not_distort_the_time_left(clock):
    lines: list[str] = []
    progress = Progress(100, "training", bar=False, write_line=lines.append)
    for step in range(1, 11):
        clock.now += 2
        progress.update(step)
    assert lines[-1].endswith("3:00 left")  # 90 steps of 2 s
    with progress.aside("evaluation", left=9):
        clock.now += 30
    clock.now += 2
    progress.update(11)
    assert lines[-1].endswith("7:28 left")  # 89 steps of 2 s and 9 evaluations of 30 s
    with progress.aside("evaluation", left=0):
        clock.now += 10
    with progress.aside("checkpoint", left=2):
        clock.now += 5
    clock.now += 10
    progress.update(16)
    assert lines[-1].endswith("2:58 left")  # 84 steps of 2 s and 2 checkpoints of 5 s


def test_the_bar_shows_the_same_time(clock):
    progress = Progress(10, "training", bar=True, write_line=lambda _: None)
    clock.now += 3
    progress.update(1)
    assert progress._bar.tasks[0].fields["left"] == "0:27 left"


@pytest.mark.parametrize(
    ("step", "every", "left"),
    [(3, 5, 4), (5, 5, 3), (20, 5, 0), (19, 5, 1), (3, 7, 3), (14, 7, 1), (4, None, 1), (20, None, 0)],
)
def test_what_is_still_due(step, every, left):
    """Counted by asking every step that follows, of 20."""
    info = _info(step, total=20)
    due = sum(number == 20 or (every is not None and number % every == 0) for number in range(step + 1, 21))
    assert num_left(info, every) == left == due


def test_epochs_that_are_still_to_end():
    assert num_left(_info(4, total=20, epoch=0, ends_epoch=True), "epoch") == 4
    assert num_left(_info(16, total=20, epoch=3, ends_epoch=True), "epoch") == 1
    assert num_left(_info(20, total=20, epoch=4, ends_epoch=True), "epoch") == 0
    assert num_left(_info(2, total=20), "epoch") == 1  # nothing tells yet how long an epoch is


def _info(step: int, *, total: int, epoch: int = 0, ends_epoch: bool = False) -> Any:
    return SimpleNamespace(step=step, total_steps=total, epoch=epoch, ends_epoch=ends_epoch)


def _rehearsal(*, total_steps: int, done: int = 0) -> Rehearsal:
    batches = SimpleNamespace(lengths=np.array([10] * 40), num_updates=lambda _epochs, accumulation: 8 // accumulation)
    training: Any = SimpleNamespace(total_steps=total_steps, batches=batches, optimizer=object())
    nothing: Any = None
    return Rehearsal(
        training=training,
        objective=nothing,
        collate=nothing,
        evaluation_tokens=100,
        final_tokens=50,
        done=done,
    )


@pytest.mark.parametrize(
    ("settings", "total_steps", "done", "expected"),
    [
        # 400 tokens an epoch of 8 updates: 50 tokens an update, 0.1 s each; 0.02 s a token of an evaluation.
        ({"steps": 20, "eval_every": 5}, 20, 0, 20 * 50 * 0.1 + 0.02 * (4 * 100 + 50)),
        ({"steps": 20, "eval_every": "epoch"}, 20, 0, 20 * 50 * 0.1 + 0.02 * (3 * 100 + 50)),
        ({"steps": 20, "eval_every": None}, 20, 0, 20 * 50 * 0.1 + 0.02 * (100 + 50)),
        ({"steps": 20, "eval_every": 5}, 20, 15, 5 * 50 * 0.1 + 0.02 * (100 + 50)),
        ({"steps": 20, "eval_every": None, "accumulation": 2}, 20, 0, 20 * 100 * 0.1 + 0.02 * (100 + 50)),
    ],
)
def test_the_estimate(monkeypatch, settings, total_steps, done, expected):
    monkeypatch.setattr(timing, "measure", lambda *_: Rates(0.1, 0.02, 3, 1.5, with_first=False))
    facts = timing.time_facts(_rehearsal(total_steps=total_steps, done=done), TrainConfig(**settings), device="cpu")
    assert facts["seconds"] == pytest.approx(expected)
    assert "timed: 3 updates of 0.5 s and a forward pass, one process on cpu" in facts["time"]


def test_what_is_not_timed_is_said(monkeypatch):
    monkeypatch.setattr(timing, "_available_bytes", lambda: 1000)
    assert "1,000" not in str(timing.obstacle(62, TrainConfig(), device="cpu"))
    assert "are free" in str(timing.obstacle(63, TrainConfig(), device="cpu"))
    assert timing.obstacle(63, TrainConfig(), device="cuda") is None
    assert timing.obstacle(1, TrainConfig(compile=True), device="cpu") is not None
    assert timing.obstacle(1, TrainConfig(parallel="fsdp"), device="cpu") is not None
    assert timing.not_measured("x") == {"seconds": None, "time": "not estimated: x"}
