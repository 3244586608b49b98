"""Saving and going on: to the bit, without pickle, and whole after a kill at any moment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nlpx.errors import InputError
from nlpx.models.checkpoints.plain import load_weights, save_weights
from nlpx.optim.config import OptimConfig
from nlpx.train.state import read_state, write_state

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
import toy_run  # noqa: E402


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_nested_state_round_trip(tmp_path):
    state = {
        "numbers": {0: {"step": torch.tensor(3.0), "moment": torch.randn(2, 3).bfloat16()}},
        "tuple": (0.1, None, [True, "文"]),
        "empty": {},
        "ids": torch.arange(4).reshape(2, 2).t(),
    }
    write_state(state, tmp_path)
    found = read_state(tmp_path)
    assert found["tuple"] == state["tuple"]
    assert found["empty"] == {}
    assert torch.equal(found["ids"], state["ids"])
    assert list(found["numbers"]) == [0]
    for name, tensor in state["numbers"][0].items():
        assert torch.equal(found["numbers"][0][name], tensor)
        assert found["numbers"][0][name].dtype == tensor.dtype


def test_twenty_steps_equal_ten_a_new_process_and_ten(tmp_path):
    """New objects here; the processes of `kill -9` below are truly new ones."""
    unbroken, config = toy_run.build()
    losses = toy_run.run(unbroken, config)

    first, config = toy_run.build()
    before = toy_run.run(first, config, stop=10)
    first.early_stopping.observe(0.5, step=10)
    first.save(tmp_path / "last")

    torch.manual_seed(999)
    second, config = toy_run.build(seed=3)
    second.load(tmp_path / "last")
    torch.testing.assert_close(toy_run.weights(second), toy_run.weights(first), rtol=0, atol=0)
    assert second.step == 10
    assert second.early_stopping.best_score == 0.5
    assert before + toy_run.run(second, config) == losses
    assert same(toy_run.weights(second), toy_run.weights(unbroken))


@pytest.mark.parametrize("stop", [1, 4, 13, 19])
def test_resuming_anywhere_gives_the_same_run(tmp_path, stop):
    settings = {"steps": None, "epochs": 3, "batch_tokens": 200, "accumulation": 3}
    unbroken, config = toy_run.build(**settings)
    losses = toy_run.run(unbroken, config)
    first, config = toy_run.build(**settings)
    before = toy_run.run(first, config, stop=stop)
    first.save(tmp_path / "last")
    second, config = toy_run.build(**settings)
    second.load(tmp_path / "last")
    assert before + toy_run.run(second, config) == losses
    assert same(toy_run.weights(second), toy_run.weights(unbroken))


def test_saving_does_not_disturb_the_run(tmp_path):
    unbroken, config = toy_run.build()
    losses = toy_run.run(unbroken, config)
    saving, config = toy_run.build()
    for step in range(1, 21):
        assert toy_run.run(saving, config, stop=step) == losses[step - 1 : step]
        saving.save(tmp_path / "last")


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    training, config = toy_run.build()
    toy_run.run(training, config)
    training.save(tmp_path / "last")
    again, config = toy_run.build()
    again.load(tmp_path / "last")
    assert toy_run.run(again, config) == []


@pytest.fixture(scope="module")
def unbroken():
    training, config = toy_run.build()
    return toy_run.run(training, config), toy_run.weights(training)


@pytest.mark.parametrize("place", ["before_files", "between_files", "before_rename", "between_renames"])
def test_a_kill_in_the_middle_of_a_save_leaves_the_last_one(tmp_path, place, unbroken):
    arguments = [sys.executable, str(TESTS / "toy_run.py"), str(tmp_path), f"kill={place}"]
    killed = subprocess.run(arguments, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    training, config = toy_run.build()
    training.load(tmp_path / "last")
    assert training.step == 7
    losses, weights = unbroken
    assert toy_run.run(training, config) == losses[7:]
    assert same(toy_run.weights(training), weights)
    training.save(tmp_path / "last")
    assert [path.name for path in tmp_path.iterdir()] == ["last"]  # what the dead process left is gone


def test_another_process_gives_the_same_run(tmp_path, unbroken):
    subprocess.run([sys.executable, str(TESTS / "toy_run.py"), str(tmp_path)], check=True)
    losses, weights = unbroken
    assert json.loads((tmp_path / "losses.json").read_text()) == [losses]
    assert same(load_file(tmp_path / "weights.safetensors"), weights)


def test_nothing_in_a_checkpoint_is_pickled(tmp_path):
    training, config = toy_run.build()
    toy_run.run(training, config, stop=2)
    training.save(tmp_path / "last")
    names = sorted(path.name for path in (tmp_path / "last").iterdir())
    assert names == ["model.safetensors", "training.json", "training.safetensors"]
    json.loads((tmp_path / "last" / "training.json").read_text(encoding="utf-8"))


def test_the_model_is_saved_and_loaded_by_whoever_knows_it(tmp_path):
    training, _ = toy_run.build()
    calls = []
    training.save(tmp_path / "last", save_model=lambda model, directory: (directory / "mine").write_text("x"))
    training.load(tmp_path / "last", load_model=lambda model, directory: calls.append((directory / "mine").read_text()))
    assert calls == ["x"]


def test_tied_weights_stay_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
            self.head.weight = self.embedding.weight

    model, other = Tied(), Tied()
    save_weights(model, tmp_path)
    load_weights(other, tmp_path)
    assert torch.equal(other.head.weight, model.embedding.weight)
    assert other.head.weight is other.embedding.weight


def saved(tmp_path):
    training, config = toy_run.build()
    toy_run.run(training, config, stop=2)
    training.save(tmp_path / "last")
    return tmp_path / "last"


def refused(directory, match, **settings):
    training, _ = toy_run.build(**settings)
    with pytest.raises(InputError, match=match) as caught:
        training.load(directory)
    assert caught.value.hint


def test_a_missing_checkpoint_is_refused(tmp_path):
    refused(tmp_path / "last", "no state of a training run")


@pytest.mark.parametrize("name", ["training.json", "training.safetensors"])
def test_a_cut_checkpoint_is_refused(tmp_path, name):
    path = saved(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-20])
    refused(path.parent, "damaged")


def test_cut_weights_are_refused(tmp_path):
    path = saved(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not the weights of this model"):
        toy_run.build()[0].load(path.parent)


def test_another_format_is_refused(tmp_path):
    directory = saved(tmp_path)
    write_state(read_state(directory) | {"format": 0}, directory)
    refused(directory, "another version")


def _without(state, key):
    del state["optimizer"]["state"]["$items"][0][1][key]


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(step=3),
        lambda state: _without(state, "exp_avg_sq"),
        lambda state: state["optimizer"]["param_groups"][0].update(lr=1.0),
    ],
    ids=["step", "moment", "rate"],
)
def test_a_state_that_something_has_changed_is_refused(tmp_path, change):
    """It would go on from another place, at another rate, or break in the middle of the first step."""
    path = saved(tmp_path) / "training.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    change(state)
    path.write_text(json.dumps(state), encoding="utf-8")
    refused(path.parent, "something in it has changed")


def test_tensors_of_another_shape_are_refused(tmp_path):
    directory = saved(tmp_path)
    tensors = load_file(directory / "training.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.dim() == 2)
    save_file(tensors | {name: tensors[name].T.contiguous()}, directory / "training.safetensors")
    refused(directory, "something in it has changed")


def test_a_state_without_a_seal_is_one_of_an_earlier_version(tmp_path):
    path = saved(tmp_path) / "training.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    assert state.pop("$seal")
    path.write_text(json.dumps(state), encoding="utf-8")
    training, _ = toy_run.build()
    training.load(path.parent)
    assert training.step == state["step"] > 0


def test_another_runs_settings_are_refused(tmp_path):
    directory = saved(tmp_path)
    refused(directory, "tricks .* ema", tricks={})
    refused(directory, "place is lost", batch_tokens=77)
    other_order = OptimConfig(rules=[{"pattern": "norm*", "learning_rate_scale": 3.0}])
    refused(directory, "trained parameters .* their order", optim=other_order)
