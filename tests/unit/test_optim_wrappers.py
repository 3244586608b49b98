"""Derived optimizers: closed forms, hand-written references, the order of wrappers, and states that go on exactly."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nlpx.configuration import registry
from nlpx.errors import UsageError
from nlpx.optim.config import OptimConfig, optimizer_names, wrapper_names
from nlpx.optim.derived import DerivedOptimizer
from nlpx.optim.foreign import Foreign
from nlpx.optim.groups import build_optimizer
from nlpx.optim.layer_adaptation import Config as AdaptationConfig
from nlpx.optim.layer_adaptation import Wrapper as LayerAdaptation
from nlpx.optim.sgd import Config as SgdConfig
from nlpx.optim.sgd import Rule as Sgd
from nlpx.optim.weight_decay import Wrapper as WeightDecay
from nlpx.train.state import read_state, write_state

RATE = 0.03


class Model(nn.Module):
    """Matrices, a norm, a bias, a zero matrix, and a part without gradients; in float64."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(5, 4, generator=generator, dtype=torch.float64))
        self.norm = nn.Parameter(torch.ones(4, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(4, generator=generator, dtype=torch.float64))
        self.zero = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
        self.unused = nn.Parameter(torch.randn(2, generator=generator, dtype=torch.float64))


def give(model, generator, scale=1.0):
    for name, parameter in model.named_parameters():
        if name != "unused":
            parameter.grad = scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)


def trained(config, *, count=10, scale=1.0, make=build_optimizer):
    """The model and its optimizer after `count` updates with random gradients."""
    model, generator = Model(), torch.Generator().manual_seed(1)
    optimizer = make(model, OptimConfig.model_validate({"learning_rate": RATE} | config))
    for _ in range(count):
        give(model, generator, scale)
        optimizer.step()
    return model, optimizer


def values(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def close(ours, theirs, tolerance=1e-13):
    for name, value in theirs.named_parameters():
        torch.testing.assert_close(dict(ours.named_parameters())[name], value, atol=tolerance, rtol=tolerance)


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def lengths(before, model):
    return {
        name: (float((value - before[name]).norm()), float(before[name].norm()))
        for name, value in values(model).items()
    }


@pytest.mark.parametrize("name", optimizer_names())
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_adapted_change_is_exactly_the_rate_times_the_weights(name, decay):
    config = {"name": name, "weight_decay": decay, "wrappers": {"layer_adaptation": {"exclude": []}}}
    model, optimizer = trained(config, count=3)
    before = values(model)
    give(model, torch.Generator().manual_seed(5))
    optimizer.step()
    found = lengths(before, model)
    for adapted in ("first", "second", "norm", "bias"):
        moved, length = found[adapted]
        assert moved == pytest.approx(RATE * length, rel=1e-12)
    assert found["unused"][0] == 0


def test_the_ratio_is_one_where_a_length_is_zero():
    plain, _ = trained({"name": "sgd"}, count=1)
    adapted, _ = trained({"name": "sgd", "wrappers": {"layer_adaptation": {"exclude": []}}}, count=1)
    assert torch.equal(adapted.zero, plain.zero)
    assert float(plain.zero.detach().norm()) > 0
    assert not torch.equal(adapted.first, plain.first)
    model = Model()
    optimizer = build_optimizer(model, OptimConfig(name="sgd", weight_decay=0, wrappers={"layer_adaptation": {}}))
    before = values(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in values(model).items())


def test_excluded_parameters_keep_the_proposed_change():
    plain, _ = trained({"name": "tiger"}, count=1)
    adapted, _ = trained({"name": "tiger", "wrappers": {"layer_adaptation": {}}}, count=1)
    unlike = {name for name, value in values(plain).items() if not torch.equal(value, values(adapted)[name])}
    assert unlike == {"first", "second"}
    spared, _ = trained({"name": "tiger", "wrappers": {"layer_adaptation": {"exclude": ["*"]}}})
    assert same(spared, trained({"name": "tiger"})[0])


def test_adaptation_forgets_the_scale_of_the_gradient():
    config = {"name": "sgd", "weight_decay": 0.0, "wrappers": {"layer_adaptation": {"exclude": []}}}
    ours, theirs = values(trained(config, scale=1000.0)[0]), values(trained(config)[0])
    del ours["zero"], theirs["zero"]  # without a length at first, it moves as proposed
    torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)
    assert not torch.allclose(values(trained(config | {"wrappers": {}}, scale=1000.0)[0])["first"], theirs["first"])


def test_a_rate_below_the_floor_shortens_the_change():
    """dx is divided by at least 1e-7: at a tenth of that, the change is ten times rate * |theta|."""
    rate = 1e-8
    model = Model()
    before = values(model)
    config = {"name": "sgd", "learning_rate": rate, "weight_decay": 0, "wrappers": {"layer_adaptation": {}}}
    optimizer = build_optimizer(model, OptimConfig.model_validate(config))
    give(model, torch.Generator().manual_seed(5))
    optimizer.step()
    moved, length = lengths(before, model)["first"]
    assert moved == pytest.approx(1e-7 * length, rel=1e-6)


def lamb(model, config, count=10):
    """LAMB as its paper has it, written down once more: decay inside the ratio, moments corrected or not."""
    generator = torch.Generator().manual_seed(1)
    weights = values(model)
    first = {name: torch.zeros_like(value) for name, value in weights.items()}
    second = {name: torch.zeros_like(value) for name, value in weights.items()}
    beta, beta_square = config.options.betas
    for step in range(1, count + 1):
        give(model, generator)
        for name, parameter in model.named_parameters():
            if parameter.grad is None:
                continue
            first[name] = beta * first[name] + (1 - beta) * parameter.grad
            second[name] = beta_square * second[name] + (1 - beta_square) * parameter.grad**2
            mean, square = first[name], second[name]
            if config.options.bias_correction:
                mean, square = mean / (1 - beta**step), square / (1 - beta_square**step)
            update = mean / (square.sqrt() + config.options.epsilon)
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            update = update + decay * weights[name]
            ratio = 1.0
            if name not in ("norm", "bias") and weights[name].norm() > 0 and update.norm() > 0:
                ratio = weights[name].norm() / update.norm()
            weights[name] = weights[name] - RATE * ratio * update
    return weights


@pytest.mark.parametrize("corrected", [True, False])
def test_layer_adaptation_around_adamw_is_lamb(corrected):
    config = {
        "weight_decay": 0.1,
        "options": {"betas": (0.8, 0.95), "bias_correction": corrected},
        "wrappers": {"layer_adaptation": {}},
    }
    model, _ = trained(config)
    expected = lamb(Model(), OptimConfig.model_validate({"learning_rate": RATE} | config))
    for name, value in values(model).items():
        torch.testing.assert_close(value, expected[name], atol=1e-12, rtol=1e-12)


def test_the_rule_of_adamw_is_torchs():
    spared = {"layer_adaptation": {"exclude": ["*"]}}
    ours, derived = trained({"weight_decay": 0.3, "wrappers": spared})
    theirs, fused = trained({"weight_decay": 0.3})
    assert isinstance(derived, DerivedOptimizer)
    assert isinstance(fused, torch.optim.AdamW)
    close(ours, theirs, tolerance=1e-12)


def test_averaging_sgd_is_torchs_at_a_converted_rate():
    ours, _ = trained({"name": "sgd", "weight_decay": 0.0, "options": {"momentum": 0.8}})
    model, generator = Model(), torch.Generator().manual_seed(1)
    theirs = torch.optim.SGD(model.parameters(), lr=RATE * 0.2, momentum=0.8)
    for _ in range(10):
        give(model, generator)
        theirs.step()
    close(ours, model)


def test_tiger_moves_by_the_rate_and_the_decay():
    model, _ = trained({"name": "tiger", "weight_decay": 0.5}, count=1)
    start, generator = Model(), torch.Generator().manual_seed(1)
    give(start, generator)
    first = start.first.detach()
    expected = first - RATE * (start.first.grad.sign() + 0.5 * first)
    torch.testing.assert_close(model.first.detach(), expected, atol=1e-15, rtol=1e-14)
    torch.testing.assert_close(model.bias.detach(), start.bias.detach() - RATE * start.bias.grad.sign())


def penalised(name, decay):
    """Training on the loss plus decay / 2 |theta|^2, without weight decay."""
    model, generator = Model(), torch.Generator().manual_seed(1)
    options = {"momentum": 0.0} if name == "sgd" else {}
    config = OptimConfig(name=name, learning_rate=RATE, weight_decay=0.0, options=options)
    optimizer = build_optimizer(model, config)
    for _ in range(10):
        give(model, generator)
        for parameter in (model.first, model.second, model.zero):
            parameter.grad += decay * parameter.detach()
        optimizer.step()
    return model


def test_decay_is_an_l2_penalty_for_sgd_and_not_for_adam():
    ours, _ = trained({"name": "sgd", "weight_decay": 0.3, "options": {"momentum": 0.0}})
    close(ours, penalised("sgd", 0.3))
    ours, _ = trained({"weight_decay": 0.3})
    assert not torch.allclose(ours.first, penalised("adamw", 0.3).first, atol=1e-3)


def test_decay_outside_the_ratio_is_another_optimizer():
    inside, _ = trained({"weight_decay": 0.1, "wrappers": ["layer_adaptation"]})
    stated, _ = trained({"weight_decay": 0.1, "wrappers": ["weight_decay", "layer_adaptation"]})
    outside, _ = trained({"weight_decay": 0.1, "wrappers": ["layer_adaptation", "weight_decay"]})
    assert same(inside, stated)
    assert not torch.allclose(inside.first, outside.first, atol=1e-4)


def test_decay_outside_the_ratio_is_the_adapted_change_less_the_decayed_weights():
    free, _ = trained({"weight_decay": 0.0, "wrappers": ["layer_adaptation"]}, count=1)
    outside, _ = trained({"weight_decay": 0.1, "wrappers": ["layer_adaptation", "weight_decay"]}, count=1)
    start = Model().first.detach()
    torch.testing.assert_close(outside.first.detach(), free.first.detach() - RATE * 0.1 * start)


def foreign(make):
    def build(model, config):
        derived = build_optimizer(model, config)
        return DerivedOptimizer([{**group} for group in derived.param_groups], Foreign(make(model)), derived.wrappers)

    return build


@pytest.mark.parametrize("wrappers", [{}, {"layer_adaptation": {}}])
def test_any_optimizer_of_torch_can_be_wrapped(wrappers):
    """torch's own Adam, stepped and taken back, proposes what our rule proposes."""
    config = {"weight_decay": 0.1, "wrappers": wrappers or {"weight_decay": {}}}
    make = foreign(lambda model: torch.optim.Adam(model.parameters(), eps=1e-6))
    close(trained(config, make=make)[0], trained(config)[0], tolerance=1e-9)


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.RAdam])
def test_a_wrapped_foreign_optimizer_goes_on_exactly(kind, tmp_path):
    config = {"wrappers": {"layer_adaptation": {}}}
    round_trip(config, tmp_path, make=foreign(lambda model: kind(model.parameters())))


def round_trip(config, directory, *, make=build_optimizer, count=5):
    model, optimizer = trained(config, make=make, count=count)
    write_state(optimizer.state_dict(), directory)
    twin = copy.deepcopy(model)
    restored = make(twin, OptimConfig.model_validate({"learning_rate": RATE} | config))
    restored.load_state_dict(read_state(directory))
    for seed in range(7, 11):
        for each, theirs in ((model, optimizer), (twin, restored)):
            give(each, torch.Generator().manual_seed(seed))
            theirs.step()
        assert same(model, twin)


STACKS = [
    ["layer_adaptation"],
    ["layer_adaptation", "weight_decay"],
    [{"hidden_accumulation": {"steps": 3}}],
    [{"hidden_accumulation": {"steps": 3}}, "layer_adaptation"],
]


def _can_join(name, wrappers):
    return hasattr(registry.load("optim", name), "Rule") or not any("hidden_accumulation" in each for each in wrappers)


PAIRS = [pair for pair in itertools.product(optimizer_names(), STACKS) if _can_join(*pair)]


@pytest.mark.parametrize(("name", "wrappers"), PAIRS)
def test_every_stack_goes_on_exactly_from_a_file(name, wrappers, tmp_path):
    """Five gradients: with windows of three the state is taken in the middle of one."""
    round_trip({"name": name, "wrappers": wrappers}, tmp_path)


def test_every_wrapper_is_in_a_stack():
    named = {item if isinstance(item, str) else next(iter(item)) for stack in STACKS for item in stack}
    assert named == set(wrapper_names())


@pytest.mark.parametrize(("name", "wrappers"), PAIRS)
def test_parameters_without_a_gradient_are_left_alone(name, wrappers):
    model, optimizer = trained({"name": name, "wrappers": wrappers, "weight_decay": 0.5}, count=6)
    assert torch.equal(model.unused, Model().unused)
    assert model.unused not in optimizer.state or not optimizer.state[model.unused]


def test_groups_of_lists_and_single_parameters_agree(monkeypatch):
    """On an accelerator a group goes as one list."""
    config = {"wrappers": {"hidden_accumulation": {"steps": 2}, "layer_adaptation": {}}}
    single, _ = trained(config)
    monkeypatch.setattr("nlpx.optim.derived._is_cheap_alone", lambda parameter: False)
    assert same(trained(config)[0], single)


def test_a_scale_of_zero_freezes_inside_wrappers():
    rules = [{"pattern": "first", "learning_rate_scale": 0}]
    model, _ = trained({"rules": rules, "wrappers": {"layer_adaptation": {}}})
    assert torch.equal(model.first, Model().first)
    assert not torch.equal(model.second, Model().second)


def test_a_closure_is_called_with_gradients():
    model = Model()
    optimizer = build_optimizer(model, OptimConfig(name="sgd"))

    def closure():
        loss = model.first.square().sum()
        loss.backward()
        return loss.detach()

    before = float(model.first.detach().square().sum())
    assert float(optimizer.step(closure)) == before
    assert float(model.first.detach().square().sum()) < before


def test_wrappers_can_be_put_together_by_hand():
    """The same wrappers in plain Python, around any rule."""
    model = Model()
    groups = [{"params": list(model.named_parameters()), "lr": RATE, "weight_decay": 0.1}]
    wrappers = [WeightDecay(), LayerAdaptation(AdaptationConfig())]
    optimizer = DerivedOptimizer(groups, Sgd(SgdConfig()), wrappers)
    give(model, torch.Generator().manual_seed(1))
    before = values(model)
    optimizer.step()
    moved, length = lengths(before, model)["first"]
    assert moved == pytest.approx(RATE * length)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"wrappers": ["adamw"]}, "`adamw` wraps no optimizer; known: hidden_accumulation, layer_adaptation"),
        ({"name": "layer_adaptation"}, "`layer_adaptation` is no optimizer; known: adamw, muon, sgd, tiger"),
        ({"wrappers": {"hidden_accumulation": {"steps": 0}}}, "steps"),
        ({"wrappers": {"layer_adaptation": {"exclud": []}}}, "exclud"),
        ({"wrappers": {"layer_adaption": {}}}, "layer_adaption"),
    ],
)
def test_wrong_wrappers_are_refused(config, named):
    with pytest.raises(ValidationError, match=named):
        OptimConfig.model_validate(config)


def test_hidden_accumulation_needs_moments_it_can_reach():
    model = Model()
    derived = build_optimizer(model, OptimConfig(wrappers={"hidden_accumulation": {"steps": 2}}))
    with pytest.raises(UsageError, match="hidden_accumulation"):
        DerivedOptimizer(derived.param_groups, Foreign(torch.optim.SGD(model.parameters())), derived.wrappers)


def test_resolved_wrappers_can_be_read_back():
    config = OptimConfig(wrappers=["layer_adaptation", {"hidden_accumulation": {"steps": 4}}])
    again = OptimConfig.model_validate(config.model_dump())
    assert again == config
    assert list(again.wrappers) == ["layer_adaptation", "hidden_accumulation"]
    assert again.gradients_per_update == 4
    assert OptimConfig().gradients_per_update == 1
