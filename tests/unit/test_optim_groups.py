"""Parameter groups by name patterns, and every optimizer of the folder."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nlpx.configuration import registry
from nlpx.optim.config import OptimConfig, optimizer_names
from nlpx.optim.groups import build_optimizer, parameter_groups
from nlpx.train.step import set_learning_rate


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm_condition = nn.Linear(3, 4, bias=False)
        self.norm = nn.LayerNorm(4)
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.norm(self.linear(x) * self.scale)


def grouped(**config):
    groups = parameter_groups(Block().named_parameters(), OptimConfig(learning_rate=0.1, **config))
    return {name: group for group in groups for name, _ in group["params"]}


def test_norms_biases_and_vectors_do_not_decay():
    found = grouped(weight_decay=0.3)
    decays = {name: group["weight_decay"] for name, group in found.items()}
    assert decays == {
        "linear.weight": 0.3,
        "linear.bias": 0,
        "norm_condition.weight": 0,
        "norm.weight": 0,
        "norm.bias": 0,
        "scale": 0,
    }


def test_the_first_matching_rule_wins():
    rules = [
        {"pattern": "*condition*", "learning_rate_scale": 10, "weight_decay": 0.5},
        {"pattern": "norm*", "learning_rate_scale": 2},
    ]
    found = grouped(weight_decay=0.3, rules=rules)
    assert found["norm_condition.weight"]["lr"] == pytest.approx(1.0)
    assert found["norm_condition.weight"]["weight_decay"] == 0.5
    assert found["norm.weight"]["lr"] == pytest.approx(0.2)
    assert found["norm.weight"]["weight_decay"] == 0
    assert found["linear.weight"]["lr"] == pytest.approx(0.1)


def test_every_parameter_is_in_one_group_and_frozen_ones_in_none():
    model = Block()
    model.scale.requires_grad_(False)
    optimizer = build_optimizer(model, OptimConfig())
    members = [name for group in optimizer.param_groups for name in group["param_names"]]
    assert sorted(members) == sorted(name for name, _ in model.named_parameters() if name != "scale")


def test_a_rule_that_matches_nothing_warns():
    with pytest.warns(UserWarning, match=r"no parameter matches `\*conditon\*`"):
        build_optimizer(Block(), OptimConfig(rules=[{"pattern": "*conditon*"}]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_optimizer(Block(), OptimConfig(rules=[{"pattern": "*condition*"}]))


def test_scheduled_rates_keep_the_scale_of_each_group():
    optimizer = build_optimizer(Block(), OptimConfig(rules=[{"pattern": "linear*", "learning_rate_scale": 3}]))
    set_learning_rate(optimizer, 0.5)
    rates = {name: group["lr"] for group in optimizer.param_groups for name in group["param_names"]}
    assert rates["linear.weight"] == 1.5
    assert rates["scale"] == 0.5


def test_a_scale_of_zero_freezes():
    model = Block()
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, OptimConfig(rules=[{"pattern": "linear*", "learning_rate_scale": 0}]))
    steps(model, optimizer, 3)
    assert torch.equal(model.linear.weight, before["linear.weight"])
    assert not torch.equal(model.scale, before["scale"])


@pytest.mark.parametrize(
    "config",
    [
        {"name": "schedule"},
        {"name": "adamv"},
        {"options": {"beta": 1}},
        {"options": {"betas": [0.9, 1.0]}},
        {"learning_rate": 0},
        {"rules": [{"learning_rate_scale": 2}]},
    ],
)
def test_wrong_settings_are_refused(config):
    with pytest.raises(ValidationError):
        OptimConfig.model_validate(config)


def test_resolved_settings_can_be_read_back():
    config = OptimConfig(rules=[{"pattern": "a*"}], options={"epsilon": 1e-3})
    assert OptimConfig.model_validate(config.model_dump()) == config


def steps(model, optimizer, count):
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(count):
        inputs = torch.randn(16, 4, generator=generator)
        loss = (model(inputs) - inputs.roll(1, dims=1)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def built(name, model):
    rate = 0.002 if name == "muon" else 0.02  # its matrices move at ten times the rate
    return build_optimizer(model, OptimConfig(name=name, learning_rate=rate))


@pytest.mark.parametrize("name", optimizer_names())
def test_every_optimizer_lowers_a_small_loss(name):
    torch.manual_seed(0)
    model = Block()
    losses = steps(model, built(name, model), 200)
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


@pytest.mark.parametrize("name", optimizer_names())
def test_every_optimizer_repeats_exactly_after_a_state_round_trip(name):
    torch.manual_seed(0)
    model = Block()
    optimizer = built(name, model)
    steps(model, optimizer, 5)
    twin = copy.deepcopy(model)
    restored = built(name, twin)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert steps(model, optimizer, 5) == steps(twin, restored, 5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("name", optimizer_names())
def test_every_optimizer_says_what_it_is(name):
    assert registry.summary("optim", name)


def test_adamw_is_fused_and_follows_the_formula():
    weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    module = nn.Module()
    module.register_parameter("weight", weight)
    config = OptimConfig(learning_rate=0.1, weight_decay=0.5, options={"betas": (0.8, 0.9), "epsilon": 1e-3})
    optimizer = build_optimizer(module, config)
    assert optimizer.defaults["fused"]
    gradient = torch.tensor([[0.3, -0.4]])
    weight.grad = gradient.clone()
    optimizer.step()
    # After bias correction the first moments are g and g^2; epsilon is outside the root; decay acts on the old weight.
    old = torch.tensor([[1.0, -2.0]])
    expected = old - 0.1 * 0.5 * old - 0.1 * gradient / (gradient.abs() + 1e-3)
    assert torch.allclose(weight, expected, atol=1e-6)


def named_block(*names):
    return [(name, nn.Parameter(torch.ones(2, 2))) for name in names]


@pytest.mark.parametrize(
    "names",
    [
        ("embeddings.word_embeddings.weight", "layers.0.linear.weight", "layers.1.linear.weight", "classifier.weight"),
        ("model.embeddings.w.weight", "model.encoder.layer.0.w", "model.encoder.layer.1.w", "model.pooler.weight"),
        ("model.wte.weight", "model.h.0.attn.weight", "model.h.1.attn.weight", "model.ln_f.weight"),
    ],
    ids=["ours", "bert", "gpt2"],
)
def test_rates_fall_from_layer_to_layer(names):
    groups = parameter_groups(named_block(*names), OptimConfig(learning_rate=0.1, layer_decay=0.5))
    rates = {name: group["lr"] for group in groups for name, _ in group["params"]}
    assert [rates[name] for name in names] == pytest.approx([0.1 / 8, 0.1 / 4, 0.1 / 2, 0.1])
    assert all(group["lr"] == pytest.approx(0.1 * group["learning_rate_scale"]) for group in groups)


def test_rules_multiply_on_top_of_layers():
    rules = [{"pattern": "layers.0*", "learning_rate_scale": 10}]
    named = named_block("layers.0.w", "layers.1.w", "head.w")
    groups = parameter_groups(named, OptimConfig(learning_rate=0.1, layer_decay=0.5, rules=rules))
    rates = {name: group["lr"] for group in groups for name, _ in group["params"]}
    assert rates == pytest.approx({"layers.0.w": 0.1 * 10 / 4, "layers.1.w": 0.05, "head.w": 0.1})


def test_a_model_without_numbered_blocks_has_no_layers():
    from nlpx.errors import UsageError

    with pytest.raises(UsageError, match="no parameter of this model has one"):
        parameter_groups(named_block("linear.weight"), OptimConfig(layer_decay=0.9))
    assert parameter_groups(named_block("linear.weight"), OptimConfig())
