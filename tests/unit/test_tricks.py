"""What holds of every trick: neutral settings, evaluations, shares of the loss; then each trick by itself.

Each runs on a small encoder, through the protocol every encoder has.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nlpx.configuration import registry
from nlpx.configuration.section import plugin_config
from nlpx.objectives import ObjectiveOutput
from nlpx.tricks import _inputs
from nlpx.tricks._shares import Stateless

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toy_run
from trick_models import batch, cross_entropy, encoder, gradients, trick

NEUTRAL: dict[str, dict[str, Any]] = {
    "ema": {},
    "fgm": {"epsilon": 0},
    "flooding": {"level": 0},
    "gradient_penalty": {"epsilon": 0},
    "mixout": {"probability": 0},
    "multi_sample_dropout": {"samples": 1},
    "parameter_gradient_penalty": {"weight": 0},
    "pgd": {"epsilon": 0},
    "r_drop": {"alpha": 0},
    "teaforn": {"passes": 1},
    "vat": {"epsilon": 0},
    "weight_noise": {"scale": 0},
    "weissi": {"norm_weight": 0, "direction_weight": 0},
}


def test_the_table_of_neutral_settings_names_every_trick():
    assert sorted(NEUTRAL) == registry.plugins("tricks")


@pytest.mark.parametrize("name", sorted(set(NEUTRAL) - {"ema"}))
def test_neutral_settings_are_no_trick_at_all(name):
    inner = lambda model, given: None  # noqa: E731 - the very object is to come back
    assert trick(name, **NEUTRAL[name]).wrap(inner) is inner


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_a_listing_can_say_what_it_is(name):
    module = registry.load("tricks", name)
    assert registry.summary("tricks", name).endswith(".") or registry.summary("tricks", name).endswith(")")
    assert module.SOURCE
    assert module.COST


@pytest.mark.parametrize("name", [name for name in NEUTRAL if registry.load("tricks", name).WRAPS == "objective"])
def test_an_evaluation_is_left_alone(name):
    model, given = encoder(hidden_dropout=0.2).eval(), batch()
    found = trick(name).wrap(cross_entropy)(model, given)
    assert torch.equal(found.loss, cross_entropy(model, given).loss)
    assert found.shares == {}


@pytest.mark.parametrize(
    "name", [name for name in NEUTRAL if registry.load("tricks", name).WRAPS == "objective" and name != "teaforn"]
)
def test_shares_say_what_was_added(name):
    """Without dropout the loss of the task is known; the rest is the trick's."""
    model, given = encoder().train(), batch()
    settings = {"rate": 0.5} if name == "multi_sample_dropout" else {"level": 5.0} if name == "flooding" else {}
    found = trick(name, **settings).wrap(cross_entropy)(model, given)
    assert list(found.shares) == [name]
    if name == "multi_sample_dropout":  # its rate is dropout: the loss without a sample is nowhere seen
        return
    plain = cross_entropy(model, given).loss
    assert float(found.shares[name]) == pytest.approx(float((found.loss - plain).detach()), abs=1e-6)
    assert float(found.shares[name]) != 0 or name == "r_drop"


def test_fgm_on_the_table_is_a_step_of_the_table():
    """Written out with the table itself: moved by epsilon G / |G|, a pass there, and moved back."""
    model, given = encoder().train(), batch()
    table = model.get_input_embeddings().weight
    before = table.detach().clone()
    found = trick("fgm", epsilon=0.7).wrap(cross_entropy)(model, given)
    assert torch.equal(table, before)
    (gradient,) = torch.autograd.grad(cross_entropy(model, given).loss, table)
    with torch.no_grad():
        table.add_(0.7 * gradient / (gradient.norm() + 1e-8))
    wanted = cross_entropy(model, given).loss
    assert torch.allclose(found.loss, wanted, atol=1e-6)
    ours, theirs = gradients(model, found.loss), gradients(model, wanted)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("on", ["table", "output"])
def test_a_move_has_its_length(on):
    model, given = encoder().train(), batch()
    with _inputs.recorded(model) as lookups:
        loss = cross_entropy(model, given).loss
    moves = _inputs.Moves(on, model, lookups)
    gradient = moves.gradient(loss, lookups)
    for move in (moves.scaled(gradient, 0.5), moves.clipped([100 * gradient[0]], 0.5)):
        lengths = move[0].norm() if on == "table" else move[0].flatten(1).norm(dim=1)
        assert torch.allclose(lengths, torch.tensor(0.5), atol=1e-5)
    small = [part * 1e-4 for part in gradient]
    assert torch.equal(moves.clipped(small, 0.5)[0], small[0])


def test_a_random_move_of_the_table_is_measured_over_all_its_rows():
    """The rows of a batch have their fraction of the squared length, on average: E |rows|^2 = U / V."""
    model, given = encoder(vocab_size=200).train(), batch()
    with _inputs.recorded(model) as lookups:
        cross_entropy(model, given)
    moves = _inputs.Moves("table", model, lookups)
    torch.manual_seed(1)
    squares = torch.stack([moves.random(2.0)[0].square().sum() for _ in range(400)])
    # Each is 4 Beta(UE / 2, (V - U)E / 2): its deviation is below 4 sqrt(2 UE) / (VE), the mean's a twentieth of that.
    rows, size = len(moves.tokens), 8
    assert float(squares.mean()) == pytest.approx(
        4 * rows / 200, abs=5 * 4 * (2 * rows * size) ** 0.5 / (200 * size) / 20
    )


def test_one_step_of_pgd_is_fgm():
    model, given = encoder().train(), batch()
    for on in ("table", "output"):
        one = trick("pgd", epsilon=0.5, step=0.5, steps=1, on=on).wrap(cross_entropy)(model, given)
        other = trick("fgm", epsilon=0.5, on=on).wrap(cross_entropy)(model, given)
        assert torch.allclose(one.loss, other.loss, atol=1e-7)


def test_pgd_climbs_and_stays_inside():
    model, given = encoder().train(), batch()
    clean = cross_entropy(model, given).loss.item()
    losses = [
        trick("pgd", epsilon=0.5, step=0.2, steps=steps).wrap(cross_entropy)(model, given).loss.item()
        for steps in (1, 2, 3)
    ]
    assert clean < losses[0] < losses[1] < losses[2]
    far = trick("pgd", epsilon=0.5, step=50.0, steps=1).wrap(cross_entropy)(model, given)
    near = trick("fgm", epsilon=0.5).wrap(cross_entropy)(model, given)
    assert torch.allclose(far.loss, near.loss, atol=1e-6)


def test_the_move_of_the_penalty_and_the_penalty_agree_to_first_order():
    """|grad L(x + e G) - grad (L + e / 2 |G|^2)| falls by four when e falls by two."""
    generator = torch.Generator().manual_seed(2)
    x, w = (torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(2))

    def loss(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(-(x * w).sum()) + 0.1 * (x * w).sum().cos()

    def gap(epsilon: float) -> float:
        x_, w_ = x.clone().requires_grad_(), w.clone().requires_grad_()
        (of_x,) = torch.autograd.grad(loss(x_, w_), x_, create_graph=True)
        (penalised,) = torch.autograd.grad(loss(x_, w_) + epsilon / 2 * of_x.square().sum(), w_)
        (moved,) = torch.autograd.grad(loss(x_ + epsilon * of_x.detach(), w_), w_)
        return float((moved - penalised).abs().max())

    assert gap(0.01) / gap(0.005) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("value", [0.3, 0.7])
def test_flooding_turns_the_gradient_below_its_level(value):
    weight = torch.tensor(value, requires_grad=True)
    objective = trick("flooding", level=0.5).wrap(lambda *_: ObjectiveOutput(weight * 1.0))
    loss = objective(torch.nn.Identity().train(), {}).loss
    assert float(loss) == pytest.approx(abs(value - 0.5) + 0.5)
    assert float(torch.autograd.grad(loss, weight)[0]) == (1 if value > 0.5 else -1)


def test_a_step_down_and_one_up_descend_the_gradient():
    """On a theta^2 / 2 with the level between: exactly theta (1 - (rate a)^2)."""
    theta, rate, a = torch.tensor(1.0, dtype=torch.float64, requires_grad=True), 0.1, 2.0
    between = 0.5 * a * (0.9**2 + 0.8**2) / 2
    objective = trick("flooding", level=between).wrap(lambda *_: ObjectiveOutput(a * theta.square() / 2))
    for _ in range(2):
        (slope,) = torch.autograd.grad(objective(torch.nn.Identity().train(), {}).loss, theta)
        theta.data -= rate * slope
    assert float(theta) == pytest.approx(0.96, abs=1e-12)


def test_vat_finds_a_direction_that_matters():
    model, given = encoder().train(), batch()

    def added(**settings: Any) -> float:
        torch.manual_seed(3)
        found = trick("vat", on="output", epsilon=0.3, xi=0.1, **settings).wrap(cross_entropy)(model, given)
        return float(found.shares["vat"])

    assert added(iterations=1) > 2 * added(iterations=0) > 0
    assert added(iterations=3) >= added(iterations=1) * 0.99
    assert model.training


def test_the_direction_of_vat_is_the_top_eigenvector_of_a_known_hessian():
    """KL of two logits that are linear in x: near the point its Hessian is p (1 - p) w w^T."""
    from nlpx.tricks._divergence import each_way

    w = torch.tensor([3.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    x, u = torch.zeros(4, dtype=torch.float64), torch.tensor([0.1, 0.8, 0.5, -0.2], dtype=torch.float64)

    def logits(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros((), dtype=x.dtype), x @ w])[None]  # (1, 2)

    assert float(each_way(logits(x), logits(x), "kl")) == 0
    moved = (x + 0.1 * u / u.norm()).requires_grad_()
    (found,) = torch.autograd.grad(each_way(logits(x), logits(moved), "kl"), moved)
    assert float(torch.nn.functional.cosine_similarity(found, w, dim=0).abs()) == pytest.approx(1, abs=1e-5)


def test_vat_needs_no_label():
    model, given = encoder().train(), batch()
    other = given | {"labels": given["labels"].flip(0)}
    shares = []
    for rows in (given, other):
        torch.manual_seed(3)
        shares.append(float(trick("vat").wrap(cross_entropy)(model, rows).shares["vat"]))
    assert shares[0] == shares[1]


def test_samples_of_dropout_run_the_head_alone():
    model, given = encoder(hidden_dropout=0.3).train(), batch()
    calls = []
    model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    found = trick("multi_sample_dropout", samples=4).wrap(cross_entropy)(model, given)
    assert len(calls) == 1
    found.loss.backward()
    assert model.classifier.linear.weight.grad.abs().sum() > 0
    assert model.layers[0].feed_forward.input.weight.grad.abs().sum() > 0


def test_without_dropout_all_samples_are_the_same_and_refused():
    from nlpx.errors import UsageError

    model, given = encoder().train(), batch()
    with pytest.raises(UsageError, match="the head has no dropout"):
        trick("multi_sample_dropout").wrap(cross_entropy)(model, given)


def test_the_mean_of_many_samples_is_that_of_many_passes():
    """The states have no dropout, so whole passes and samples of the head are draws of one loss."""
    model, given = encoder().train(), batch()
    model.classifier.dropout.rate = 0.3
    torch.manual_seed(5)
    many = [float(cross_entropy(model, given).loss) for _ in range(400)]
    mean, deviation = sum(many) / 400, float(torch.tensor(many).std())
    found = trick("multi_sample_dropout", samples=400).wrap(cross_entropy)(model, given)
    assert float(found.loss) == pytest.approx(mean, abs=5 * deviation * (2 / 400) ** 0.5)


def backward_once(model: Any, batches: list[Any]) -> Any:
    loss = cross_entropy(model, batches[0]).loss
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("name", ["weight_noise", "mixout"])
def test_swapped_weights_come_back_bit_for_bit(name):
    model, given = encoder().train(), batch()
    named = trick(name)
    before = {key: weight.detach().clone() for key, weight in model.named_parameters()}
    backward = named.wrap(backward_once)
    losses = [float(backward(model, [given])) for _ in range(2)]
    assert all(torch.equal(before[key], weight) for key, weight in model.named_parameters())
    assert name == "mixout" or losses[0] != losses[1]  # mixout starts where it is


def test_mixout_is_its_formula():
    model, given = encoder().train(), batch()
    mix = trick("mixout", probability=0.4, exclude=())
    mix.wrap(backward_once)(model, [given])
    start = {key: weight.clone() for key, weight in mix.start.items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.zero_grad()
    seen: dict[str, torch.Tensor] = {}
    raw: dict[str, torch.Tensor] = {}

    def spying(network: Any, batches: list[Any]) -> Any:
        seen.update({key: weight.detach().clone() for key, weight in network.named_parameters()})
        found = backward_once(network, batches)
        raw.update({key: w.grad.clone() for key, w in network.named_parameters() if w.grad is not None})
        return found

    mix.wrap(spying)(model, [given])
    weight, name = model.layers[0].feed_forward.input.weight, "layers.0.feed_forward.input.weight"
    replaced = torch.isclose(seen[name], start[name], atol=1e-7)
    assert 0.2 < float(replaced.double().mean()) < 0.6  # 64 draws at 0.4: 0.06 is one deviation
    kept = (weight.detach() - 0.4 * start[name]) / 0.6
    assert torch.allclose(seen[name][~replaced], kept[~replaced], atol=1e-5)
    assert torch.allclose(weight.grad, torch.where(replaced, torch.zeros(()), raw[name] / 0.6), atol=1e-6)


def test_mixout_goes_on_with_the_weights_of_the_start():
    model, given = encoder().train(), batch()
    one, other = trick("mixout"), trick("mixout")
    one.wrap(backward_once)(model, [given])
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        model.layers[0].feed_forward.input.weight.add_(1.0)
    other.wrap(backward_once)(model, [given])
    assert other.start.keys() == one.start.keys()
    assert all(torch.equal(other.start[key], one.start[key]) for key in one.start)
    assert not any("embeddings" in key or "classifier" in key for key in one.start)


def test_tricks_join():
    """Around each other in both orders, without a graph that is gone or a gradient that is missing."""
    names = ["gradient_penalty", "fgm", "r_drop", "vat", "flooding", "weissi"]
    for order in (names, names[::-1]):
        model, objective = encoder(hidden_dropout=0.1).train(), cross_entropy
        for name in order:
            objective = trick(name).wrap(objective)
        found = objective(model, batch())
        found.loss.backward()
        assert torch.isfinite(found.loss)
        assert all(weight.grad is None or torch.isfinite(weight.grad).all() for weight in model.parameters())
        assert set(found.shares) == set(names)


def test_stateless_tricks_say_so():
    assert trick("fgm").state_dict() == {}
    assert isinstance(trick("vat"), Stateless)


def test_shares_reach_the_steps_of_a_run():
    """Over two batches of different size, what is logged is their mean by targets."""
    from nlpx.train.loop import train

    training, config = toy_run.build(tricks={"flooding": plugin_config("tricks", "flooding")(level=50.0)})
    info = next(iter(train(training, objective=toy_run.objective, collate=toy_run.collate, config=config)))
    plain = info.loss - info.shares["flooding"]
    assert list(info.shares) == ["flooding"]
    assert info.loss == pytest.approx(100 - plain, rel=1e-5)


@pytest.mark.parametrize("key", ["compile", "activation_checkpointing"])
def test_what_is_differentiated_twice_joins_no_compiled_or_recomputed_blocks(key):
    from nlpx.errors import UsageError

    settings = plugin_config("tricks", "gradient_penalty")()
    with pytest.raises(UsageError, match=rf"differentiates twice, and `train\.{key}`"):
        toy_run.build(tricks={"gradient_penalty": settings}, **{key: True})
