"""The parts of a step: accumulation equals the big batch, tricks wrap in order, clipping, precision."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nlpx.configuration import registry
from nlpx.errors import UsageError
from nlpx.objectives import ObjectiveOutput
from nlpx.train import precision
from nlpx.train.precision import autocast, resolve_precision
from nlpx.train.step import NamedTrick, accumulating_backward, build_tricks, clip_gradients, in_precision, wrapped
from nlpx.tricks.ema import Config as EmaConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toy_run

CPU = torch.device("cpu")


def gradients(groups, *, seed=0):
    torch.manual_seed(seed)
    model = toy_run.ToyModel(dropout=0.0)
    loss = accumulating_backward(toy_run.objective)(model, [toy_run.collate(rows) for rows in groups])
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return loss, found


@pytest.mark.parametrize(
    "groups",
    [
        [list(range(15)), list(range(15, 30))],
        [list(range(7)), [7], list(range(8, 30))],  # unequal parts weigh what they hold
        [[row] for row in range(30)],
    ],
)
def test_accumulated_gradient_equals_the_big_batch(groups):
    whole, expected = gradients([list(range(30))])
    parts, found = gradients(groups)
    assert parts.num_targets == whole.num_targets == 30
    assert float(parts.loss) == pytest.approx(float(whole.loss), abs=1e-6)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-6), name


def test_a_single_batch_is_bit_identical_to_a_plain_backward():
    _, found = gradients([list(range(12))])
    torch.manual_seed(0)
    model = toy_run.ToyModel(dropout=0.0)
    toy_run.objective(model, toy_run.collate(list(range(12)))).loss.backward()
    expected = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


def test_a_weightless_batch_changes_nothing():
    batch = toy_run.collate(list(range(12)))
    torch.manual_seed(0)
    model = toy_run.ToyModel(dropout=0.0)
    filler = toy_run.collate([40]) | {"weightless": True}
    loss = accumulating_backward(toy_run.objective)(model, [batch, filler])
    expected_loss, expected = gradients([list(range(12))])
    assert loss.num_targets == 12
    assert torch.equal(loss.loss, expected_loss.loss)
    assert all(torch.equal(model.get_parameter(name).grad, gradient) for name, gradient in expected.items())


def test_losses_carry_no_graph():
    loss, _ = gradients([list(range(12))])
    assert not loss.loss.requires_grad


class Scale:
    """A trick that multiplies or adds, so that the order shows."""

    def __init__(self, name, change):
        self.name, self.change = name, change

    def wrap(self, inner):
        return lambda value: self.change(inner(value))


def test_tricks_wrap_their_own_place_innermost_first():
    tricks = [
        NamedTrick("a", "objective", Scale("a", lambda value: value + 1)),
        NamedTrick("b", "update", Scale("b", lambda value: value * 100)),
        NamedTrick("c", "objective", Scale("c", lambda value: value * 10)),
    ]
    assert wrapped(lambda value: value, place="objective", tricks=tricks)(5) == 60
    assert wrapped(lambda value: value, place="objective", tricks=tricks[::-1])(5) == 51
    assert wrapped(lambda value: value, place="update", tricks=tricks)(5) == 500
    assert wrapped(lambda value: value, place="backward", tricks=tricks)(5) == 5


def test_tricks_are_built_from_their_settings_in_order():
    (named,) = build_tricks({"ema": EmaConfig(decay=0.5)})
    assert (named.name, named.wraps, named.trick.decay) == ("ema", "update", 0.5)


def test_tricks_that_conflict_are_refused_with_both_names(monkeypatch):
    modules = {"ema": SimpleNamespace(CONFLICTS=frozenset()), "other": SimpleNamespace(CONFLICTS=frozenset({"ema"}))}
    monkeypatch.setattr(registry, "load", lambda folder, name: modules[name])
    with pytest.raises(UsageError, match="`other` and `ema`"):
        build_tricks({"ema": EmaConfig(), "other": EmaConfig()})


@pytest.mark.parametrize("name", registry.names("tricks"))
def test_every_trick_keeps_the_contract(name):
    module = registry.load("tricks", name)
    assert registry.summary("tricks", name)
    assert module.WRAPS in {"objective", "backward", "update"}
    assert set(registry.names("tricks")) >= module.CONFLICTS
    trick = module.Trick(module.Config())
    assert callable(trick.wrap(lambda *arguments: None))
    trick.load_state_dict(trick.state_dict())


def test_clipping_cuts_the_length_and_reports_the_old_one():
    weights = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(2))]
    weights[0].grad, weights[1].grad = torch.full((3,), 3.0), torch.full((4,), -3.0)
    norm = clip_gradients(weights, max_norm=1.0)
    assert float(norm) == pytest.approx(63**0.5)
    assert float(clip_gradients(weights, max_norm=None)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("max_norm", [None, 100.0])
def test_short_gradients_are_left_alone_to_the_bit(max_norm):
    weight = nn.Parameter(torch.zeros(50))
    weight.grad = torch.randn(50)
    before = weight.grad.clone()
    clip_gradients([weight], max_norm=max_norm)
    assert torch.equal(weight.grad, before)


def test_auto_precision_follows_the_hardware(monkeypatch):
    monkeypatch.setattr(precision, "CPU_FEATURES", {"_no_such_feature": "nothing"})
    assert resolve_precision("auto", device=CPU)[0] == "float32"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(precision, "CPU_FEATURES", {"_is_amx_tile_supported": "AMX"})
    assert resolve_precision("auto", device=CPU) == ("bfloat16", "cpu has AMX")
    assert resolve_precision("float32", device=CPU)[0] == "float32"
    assert resolve_precision("auto", device=torch.device("mps"))[0] == "float32"


def test_bfloat16_reaches_the_products_but_not_weights_gradients_or_loss():
    seen = []
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    batch = {"labels": torch.tensor([0, 2]), "num_targets": 2}
    inputs = torch.randn(2, 4)

    def objective(model, batch):
        return ObjectiveOutput(toy_run.cross_entropy({"logits": model(inputs)}, batch))

    loss = accumulating_backward(in_precision(objective, "bfloat16", device=CPU))(model, [batch]).loss
    assert seen == [torch.bfloat16]
    assert loss.dtype == model.weight.dtype == model.weight.grad.dtype == torch.float32


def test_float32_opens_no_autocast():
    with autocast("float32", device=CPU):
        assert not torch.is_autocast_enabled("cpu")


def test_cross_entropy_is_the_mean_negative_log_likelihood():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    expected = (
        -torch.log(torch.e ** torch.tensor(2.0) / (1 + torch.e ** torch.tensor(2.0))) + torch.log(torch.tensor(2.0))
    ) / 2
    assert float(toy_run.cross_entropy({"logits": logits}, {"labels": torch.tensor([0, 1])})) == pytest.approx(
        float(expected)
    )
    assert toy_run.cross_entropy({"logits": logits.bfloat16()}, {"labels": torch.tensor([0, 1])}).dtype == torch.float32
