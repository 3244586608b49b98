"""A model sharded among processes trains, evaluates, saves and goes on as one that is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nlpx.errors import InputError, UsageError
from nlpx.tricks.ema import Config as EmaConfig

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
import toy_run  # noqa: E402
import transformer_run  # noqa: E402
from transformer_run import one_run as alone  # noqa: E402
from transformer_run import torchrun  # noqa: E402

PLAIN = {"model": {"dropout": 0.0}}
SHARED = PLAIN | {"parallel": "fsdp"}
WRAPPED = {"optim": {"wrappers": {"layer_adaptation": {}}, "weight_decay": 0.1}}
HIDDEN = {"optim": {"name": "tiger", "wrappers": {"hidden_accumulation": {"steps": 2}, "layer_adaptation": {}}}}

# Each trains alike in one process, and here also as a model that is not sharded.
ALIKE = {
    "plain": {},
    "ema": {"ema": True, "evaluate": True},
    "twice": {"twice": True, "accumulation": 2},
    "lamb": WRAPPED,
    "hidden": HIDDEN,
    "checkpointed": {"activation_checkpointing": True},
    "shared_layers": {"model": {"dropout": 0.0, "share_layers": "all"}},
    "pre_norm": {"model": {"dropout": 0.0, "norm_place": "pre", "position": "learned", "max_position_embeddings": 9}},
    "residual_scores": {"model": {"dropout": 0.0, "residual_scores": "sum"}},
    "few_rows": {"batch_size": 1, "steps": 4},
    "bfloat16": {"precision": "bfloat16"},
}
DROPPING = {"model": {"dropout": 0.2}, "ema": True, "parallel": "fsdp", "optim": {"weight_decay": 0.1}}
HALVES = {
    "unbroken": DROPPING,
    "first_half": DROPPING | {"stop": 4, "save": "half"},
    "second_half": DROPPING | {"load": "half"},
    "plain_half": SHARED | {"stop": 4, "save": "plain_half", "ema": True},
    "lamb_half": SHARED | HIDDEN | {"stop": 4, "save": "lamb_half", "ema": True},
}


def seen(out, name):
    """Losses, lengths of gradients and evaluations of each process, and the whole weights of the first."""
    return json.loads((out / f"{name}.json").read_text()), load_file(out / f"{name}.safetensors")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Everything that two processes do here, in one launch."""
    out = tmp_path_factory.mktemp("two")
    shared = {name: SHARED | settings for name, settings in ALIKE.items()}
    copied = {f"ddp_{name}": PLAIN | settings for name, settings in ALIKE.items()}
    torchrun(out, shared | copied | HALVES)
    return out


def near(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=tolerance, rtol=0, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("parallel", ["", "ddp_"])
@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_are_one(two, name, parallel):
    (losses, norms, scores), expected = alone(**PLAIN | ALIKE[name])
    (first, second), weights = seen(two, parallel + name)
    assert first[:2] == second[:2]
    # In bfloat16 other halves of a batch are other roundings.
    tolerance = 0.02 if name == "bfloat16" else 1e-5
    assert first[0] == pytest.approx(losses, abs=tolerance)
    assert first[1] == pytest.approx(norms, abs=10 * tolerance)
    assert first[2] == pytest.approx(scores, abs=tolerance)
    assert second[2] == [None] * len(scores)
    if name not in ("hidden", "bfloat16"):  # a sign or a rounding more or less is a whole step
        near(weights, expected, 1e-4)


def test_a_shared_run_goes_on_bit_for_bit(two):
    """With dropout, the average of the weights, and the moments, all of it from the parts of two processes."""
    (unbroken, _), weights = seen(two, "unbroken")
    (first, _), _ = seen(two, "first_half")
    (second, _), resumed = seen(two, "second_half")
    assert first[0] + second[0] == unbroken[0]
    assert first[1] + second[1] == unbroken[1]
    assert all(torch.equal(weights[name], tensor) for name, tensor in resumed.items())


def test_no_process_writes_all_and_nothing_is_pickled(two):
    names = sorted(path.name for path in (two / "half").iterdir())
    parts = [f"training-0000{rank}-of-00002.safetensors" for rank in range(2)]
    assert names == [*parts, "training.json", "training.safetensors"]
    first, second = (load_file(two / "half" / part) for part in parts)
    whole = load_file(two / "first_half.safetensors")
    assert first.keys() == second.keys()
    word_table = "/weights/embeddings.word_embeddings.weight"
    assert [len(part[word_table]) for part in (first, second)] == [16, 15]
    for name, tensor in whole.items():
        if not name.startswith("shown/"):
            rows = torch.cat([part[f"/weights/{name}"] for part in (first, second)])
            assert torch.equal(rows, tensor)
    # What is not sharded is small: counters, and no matrix.
    assert all(tensor.numel() == 1 for tensor in load_file(two / "half" / "training.safetensors").values())


@pytest.mark.parametrize(("name", "settings"), [("plain_half", {}), ("lamb_half", HIDDEN)])
def test_one_process_goes_on_from_the_parts_of_two(two, name, settings):
    expected, weights = alone(**PLAIN | settings | {"ema": True})
    (losses, _, _), found = alone(two, **PLAIN | settings | {"ema": True, "load": name})
    assert losses == pytest.approx(expected[0][4:], abs=1e-5)
    if name == "plain_half":
        near(found, weights, 1e-4)


def test_any_number_of_processes_goes_on_from_any(two):
    """Whole rows move from the parts of two to those of three; and from one file to parts, and back."""
    training, config = transformer_run.build(**PLAIN, ema=True)
    transformer_run.run(training, config, stop=4)
    training.save(two / "one_half")
    shared = SHARED | {"ema": True}
    runs = {
        "moved": shared | {"load": "plain_half", "stop": 4, "save": "moved"},
        "from_two": shared | {"load": "plain_half"},
        "from_one": shared | {"load": "one_half"},
        "copied": PLAIN | {"ema": True, "load": "plain_half"},
    }
    torchrun(two, runs, processes=3)
    (losses, _, _), weights = alone(**PLAIN, ema=True)
    for name in ("from_two", "from_one", "copied"):
        found, whole = seen(two, name)
        assert found[0][0] == pytest.approx(losses[4:], abs=1e-5)
        near(whole, weights, 1e-4)
    # One step further, and the parts of three are there.
    assert len(list((two / "moved").glob("training-*-of-00003.safetensors"))) == 3


def test_moving_changes_no_bit(two):
    """From two processes to one: weights, moments and the average are those that were saved."""
    whole = load_file(two / "plain_half.safetensors")
    training, _ = transformer_run.build(**PLAIN, ema=True)
    training.load(two / "plain_half")
    found = transformer_run.weights(training)
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    assert not torch.equal(found["lm_head.dense.weight"], found["shown/lm_head.dense.weight"])


def test_a_lost_part_is_named(two, tmp_path):
    import shutil

    shutil.copytree(two / "plain_half", tmp_path / "half")
    (tmp_path / "half" / "training-00001-of-00002.safetensors").unlink()
    training, _ = transformer_run.build(**PLAIN, ema=True)
    with pytest.raises(InputError, match=r"the part of one process is missing.*00001-of-00002"):
        training.load(tmp_path / "half")


def test_parts_of_another_model_are_refused(two):
    training, _ = transformer_run.build(model={"dropout": 0.0, "intermediate_size": 23}, ema=True)
    with pytest.raises(InputError, match="not the weights of this model"):
        training.load(two / "plain_half")


def test_in_one_process_nothing_is_shared():
    shared, config = transformer_run.build(parallel="fsdp")
    found = transformer_run.run(shared, config)
    plain, config = transformer_run.build()
    assert found == transformer_run.run(plain, config)
    assert type(shared.model) is type(plain.model)


def test_a_trick_that_shares_are_not_known_to_is_refused(monkeypatch):
    monkeypatch.setattr("nlpx.train.sharding.KNOWN_TRICKS", frozenset())
    with pytest.raises(UsageError, match=r"the trick `ema` and `train.parallel: fsdp` cannot be joined") as caught:
        toy_run.build(parallel="fsdp", tricks={"ema": EmaConfig()})
    assert "train.parallel=ddp" in caught.value.hint
