"""The moving average of the weights: its formula, bias correction, swapping, state, and that training never notices."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nlpx.errors import InputError
from nlpx.tricks.ema import Config, Trick

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toy_run


def moved(model, trick, count, seed=0):
    """Random walk of the weights under the trick; returns the weights after every update."""
    generator = torch.Generator().manual_seed(seed)

    def walk(model, _optimizer):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn(weight.shape, generator=generator))

    update = trick.wrap(walk)
    history = []
    for _ in range(count):
        update(model, None)
        history.append({name: weight.detach().clone() for name, weight in model.named_parameters()})
    return history


def test_average_follows_the_formula_with_bias_correction():
    model, decay, count = nn.Linear(3, 2), 0.9, 25
    trick = Trick(Config(decay=decay))
    history = moved(model, trick, count)
    for name in ("weight", "bias"):
        raw = torch.zeros_like(history[0][name], dtype=torch.float64)
        for weights in history:
            raw = decay * raw + (1 - decay) * weights[name].double()
        expected = raw / (1 - decay**count)
        assert torch.allclose(trick.average[name].double(), expected, atol=1e-6)


def test_after_one_update_the_average_is_the_weights():
    model = nn.Linear(3, 2)
    trick = Trick(Config(decay=0.9999))
    moved(model, trick, 1)
    assert torch.equal(trick.average["weight"], model.weight)


def test_decay_of_zero_is_the_weights():
    model = nn.Linear(3, 2)
    trick = Trick(Config(decay=0.0))
    moved(model, trick, 7)
    assert torch.equal(trick.average["weight"], model.weight)


def test_constant_weights_stay_exactly_what_they_are():
    model = nn.Linear(3, 2)
    trick = Trick(Config())
    for _ in range(50):
        trick.follow(model)
    assert torch.equal(trick.average["weight"], model.weight)


def test_swapping_in_and_out_is_exact_even_after_an_error():
    model = nn.Linear(3, 2)
    trick = Trick(Config(decay=0.5))
    moved(model, trick, 4)
    before = model.weight.detach().clone()
    with trick.evaluation_weights(model):
        assert torch.equal(model.weight, trick.average["weight"])
        assert not torch.equal(model.weight, before)
    assert torch.equal(model.weight, before)
    with pytest.raises(KeyError), trick.evaluation_weights(model):
        raise KeyError
    assert torch.equal(model.weight, before)


def test_before_the_first_update_the_weights_are_read_out():
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    with Trick(Config()).evaluation_weights(model):
        assert torch.equal(model.weight, before)


def test_frozen_weights_are_left_out():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    trick = Trick(Config())
    trick.follow(model)
    assert set(trick.average) == {"weight"}


def test_state_round_trip_goes_on_exactly():
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    trick, restored = Trick(Config()), Trick(Config())
    moved(model, trick, 5)
    other.load_state_dict(model.state_dict())
    restored.load_state_dict({"num_updates": 5, "average": {k: v.clone() for k, v in trick.average.items()}})
    moved(model, trick, 5, seed=2)
    moved(other, restored, 5, seed=2)
    assert torch.equal(trick.average["weight"], restored.average["weight"])


def test_another_models_average_is_refused():
    trick = Trick(Config())
    trick.load_state_dict({"num_updates": 1, "average": {"other": torch.zeros(2)}})
    with pytest.raises(InputError, match="weight"):
        trick.follow(nn.Linear(3, 2, bias=False))


def test_training_is_bit_identical_with_and_without():
    (losses, weights), (losses_without, weights_without) = (trained({"ema": Config()}), trained({}))
    assert losses == losses_without
    assert all(torch.equal(weights[name], weight) for name, weight in weights_without.items())


def trained(tricks):
    training, config = toy_run.build(tricks=tricks)
    return toy_run.run(training, config), toy_run.weights(training)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2])
def test_impossible_decays_are_refused(decay):
    with pytest.raises(ValidationError):
        Config(decay=decay)
