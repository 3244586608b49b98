"""The loss made in slices equals cross entropy over all logits, and so do its gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import packed
from nlpx.models import vocabulary_loss as module
from nlpx.models.vocabulary_loss import vocabulary_loss
from nlpx.objectives import mlm


def parts(count=150, size=12, vocab=40, *, dtype=torch.float64, bias=True):
    generator = torch.Generator().manual_seed(3)
    states, table = (torch.randn(rows, size, generator=generator, dtype=dtype) for rows in (count, vocab))
    offsets = torch.randn(vocab, generator=generator, dtype=dtype) if bias else None
    leaves = [None if part is None else part.requires_grad_() for part in (states, table, offsets)]
    return leaves, torch.randint(vocab, (count,), generator=generator)


def gradients(loss, leaves):
    return torch.autograd.grad(loss * 0.7, [leaf for leaf in leaves if leaf is not None])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [0, 1, 64, 150])
def test_loss_and_gradients(count, bias):
    leaves, targets = parts(count, bias=bias)
    assert module.num_rows(40, "cpu") > 150
    plain = functional.cross_entropy(functional.linear(*leaves), targets, reduction="sum")
    loss = vocabulary_loss(*leaves, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    for ours, theirs in zip(gradients(loss, leaves), gradients(plain, leaves), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_slices_change_nothing(monkeypatch):
    leaves, targets = parts()
    whole = vocabulary_loss(*leaves, targets)
    monkeypatch.setattr(module, "SLICE", {"cpu": 0})
    assert module.num_rows(40, "cpu") == module.FEWEST_ROWS < 150
    sliced = vocabulary_loss(*leaves, targets)
    assert sliced.item() == pytest.approx(whole.item(), rel=1e-6)
    for ours, theirs in zip(gradients(sliced, leaves), gradients(whole, leaves), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_bfloat16_is_as_close_as_autocast_of_the_plain_form():
    leaves, targets = parts(dtype=torch.float32)
    exact = functional.cross_entropy(functional.linear(*leaves), targets, reduction="sum")
    with torch.autocast("cpu", torch.bfloat16):
        plain = functional.cross_entropy(functional.linear(*leaves).float(), targets, reduction="sum")
        loss = vocabulary_loss(*leaves, targets)
    wanted, theirs, ours = (gradients(each, leaves) for each in (exact, plain, loss))
    assert [part.dtype for part in ours] == [torch.float32] * 3
    assert (loss - exact).abs() <= 2 * (plain - exact).abs() + 0.05
    for right, one, other in zip(wanted, theirs, ours, strict=True):
        assert (other - right).norm() <= 2 * (one - right).norm() + 1e-3


def test_what_needs_no_gradient_gets_none():
    (states, table, _), targets = parts()
    loss = vocabulary_loss(states.detach(), table, None, targets)
    assert torch.autograd.grad(loss, table)[0].abs().sum() > 0
    assert not vocabulary_loss(states.detach(), table.detach(), None, targets).requires_grad


def test_an_objective_trains_with_it_and_reports_without():
    network = packed.model(hidden_dropout=0.0, attention_dropout=0.0)
    objective = mlm.Objective(mlm.Config(rate=0.4), packed.SPECIAL)
    batch = objective.batch(packed.random_rows((14,), (5, 6)), packed.generators(2))
    losses = {}
    for name, mode in (("training", network.train()), ("evaluation", network.eval())):
        found = objective(mode.train(name == "training"), batch)
        assert ("logits" in found.outputs) == (name == "evaluation")
        losses[name] = (found.loss, torch.autograd.grad(found.loss, list(network.parameters()), allow_unused=True))
    assert torch.allclose(losses["training"][0], losses["evaluation"][0], atol=1e-6)
    for ours, theirs in zip(losses["training"][1], losses["evaluation"][1], strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", ["constant", "function"])
def test_a_gradient_can_be_differentiated_again(bias, scale):
    """What a gradient penalty does: the parameters' gradient of |d loss / d states|^2, as through all logits."""

    def penalty(loss_of):
        leaves, targets = parts(20, bias=bias)
        loss = loss_of(leaves, targets)
        loss = loss * leaves[0].sum().sin() if scale == "function" else loss
        (of_states,) = torch.autograd.grad(loss, leaves[0], create_graph=True)
        return gradients(of_states.square().sum(), leaves)

    def plain(leaves, targets):
        return functional.cross_entropy(functional.linear(*leaves), targets, reduction="sum")

    ours, theirs = penalty(lambda leaves, targets: vocabulary_loss(*leaves, targets)), penalty(plain)
    for mine, reference in zip(ours, theirs, strict=True):
        # softmax and logsumexp are float32: an error is one of the largest terms, not of each.
        assert torch.allclose(mine, reference, atol=1e-5 * float(reference.abs().max()), rtol=0)


def test_a_gradient_of_the_gradient_by_finite_differences():
    leaves, targets = parts(6)

    def slope(shift):
        states = (leaves[0].detach() + shift).requires_grad_()
        (found,) = torch.autograd.grad(
            vocabulary_loss(states, leaves[1], leaves[2], targets), states, create_graph=True
        )
        return found.square().sum(), states

    value, states = slope(0.0)
    (derivative,) = torch.autograd.grad(value, states)
    step = 1e-2  # the loss is float32: a larger step loses less to rounding than it gains in curvature
    differences = (slope(step)[0] - slope(-step)[0]) / (2 * step)
    assert derivative.sum().item() == pytest.approx(differences.item(), rel=1e-2)
