from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from nlpx import device, seed
from nlpx.errors import MachineError, UsageError


@pytest.fixture
def machine(monkeypatch):
    def describe(*, num_cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: num_cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"Card {number}")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return describe


@pytest.mark.parametrize(
    ("name", "machine_has", "expected"),
    [
        ("auto", {}, ("cpu", "auto: torch finds no GPU")),
        ("auto", {"num_cuda": 2}, ("cuda:0", "auto: Card 0")),
        ("auto", {"mps": True}, ("mps", "auto: Metal is available")),
        ("cpu", {"num_cuda": 1}, ("cpu", "asked for")),
        ("cuda", {"num_cuda": 1}, ("cuda:0", "asked for; Card 0")),
        ("cuda:1", {"num_cuda": 2}, ("cuda:1", "asked for; Card 1")),
        ("mps", {"mps": True}, ("mps", "asked for")),
    ],
)
def test_choices_and_reasons(machine, name, machine_has, expected):
    machine(**machine_has)
    choice = device.choose(name)
    assert (choice.device, choice.reason) == expected


@pytest.mark.parametrize("name", ["cuda", "cuda:3", "mps"])
def test_a_missing_device_names_the_way_out(machine, name):
    machine()
    with pytest.raises(MachineError, match=f"device `{name}` is not available") as caught:
        device.choose(name)
    assert "--device auto" in str(caught.value.hint)


def test_auto_does_not_fall_back_where_a_gpu_is_needed(machine):
    machine()
    with pytest.raises(MachineError, match="needs a GPU") as caught:
        device.choose("auto", require_accelerator=True)
    assert "--device cpu" in str(caught.value.hint)
    assert device.choose("cpu", require_accelerator=True).device == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_unknown_devices(name):
    with pytest.raises(UsageError, match="unknown device"):
        device.check(name)


def test_checking_a_name_needs_no_torch():
    code = "import sys, nlpx.device, nlpx.seed; nlpx.device.check('cuda:1'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def _draw() -> list[float]:
    return [random.random(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(()))]


def test_the_seed_reaches_every_generator():
    before = seed.random_state()
    try:
        seed.seed_everything(3)
        first = _draw()
        seed.seed_everything(3)
        assert _draw() == first
        seed.seed_everything(4)
        assert not set(_draw()) & set(first)
    finally:
        seed.restore_random_state(before)


def test_random_state_is_restored_exactly():
    seed.seed_everything(5)
    _draw()
    state = seed.random_state()
    first = [_draw(), _draw()]
    seed.restore_random_state(state)
    assert [_draw(), _draw()] == first


def test_deterministic_kernels_are_switched_on():
    try:
        seed.seed_everything(1, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
