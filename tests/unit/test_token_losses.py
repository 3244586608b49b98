"""Losses over a vocabulary: closed forms, what the sparse softmax leaves out, finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from nlpx.losses import fitting, sparse_softmax, token_cross_entropy


def scores(rows: int = 6, size: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    logits = 3 * torch.randn(rows, size, generator=generator, dtype=torch.float64)
    return logits.float().requires_grad_(), torch.randint(size, (rows,), generator=generator)


def sparse(logits: torch.Tensor, targets: torch.Tensor, k: int) -> torch.Tensor:
    return sparse_softmax.Loss(sparse_softmax.Config(k=k))({"logits": logits}, {"targets": targets})


def test_both_fit_tokens():
    assert fitting("tokens") == ["sparse_softmax", "token_cross_entropy"]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_its_formula(smoothing):
    logits, targets = scores()
    probabilities = logits.softmax(-1)
    wanted = (1 - smoothing) * probabilities[range(6), targets].log() + smoothing * probabilities.log().mean(-1)
    loss = token_cross_entropy.Loss(token_cross_entropy.Config(smoothing=smoothing))
    assert float(loss({"logits": logits}, {"targets": targets})) == pytest.approx(float(-wanted.mean()), rel=1e-5)


@pytest.mark.parametrize("k", [11, 50])
def test_with_all_logits_it_is_cross_entropy(k):
    logits, targets = scores()
    assert torch.allclose(sparse(logits, targets, k), functional.cross_entropy(logits, targets))


@pytest.mark.parametrize("k", [1, 3, 10])
def test_it_is_never_above_cross_entropy(k):
    logits, targets = scores()
    each = [float(sparse(logits[[row]], targets[[row]], k)) for row in range(6)]
    full = functional.cross_entropy(logits, targets, reduction="none").tolist()
    assert all(0 <= ours <= theirs + 1e-6 for ours, theirs in zip(each, full, strict=True))


def test_a_target_outside_the_largest_keeps_its_own_term():
    logits = torch.tensor([[2.0, 1.0, 0.0, -3.0]], requires_grad=True)
    loss = sparse(logits, torch.tensor([3]), k=2)
    assert float(loss) == pytest.approx(math.log(math.exp(2) + math.exp(1)) + 3, rel=1e-6)
    loss.backward()
    share = 1 / (1 + math.exp(-1))
    assert torch.allclose(logits.grad, torch.tensor([[share, 1 - share, 0.0, -1.0]]))


def test_other_logits_outside_the_largest_get_no_gradient():
    logits, targets = scores()
    sparse(logits, targets, 3).backward()
    largest = torch.zeros_like(logits).scatter(1, logits.topk(3).indices, 1).bool()
    others = ~largest.scatter(1, targets[:, None], True)
    assert (logits.grad[others] == 0).all()
    assert (logits.grad[largest] != 0).all()


def test_gradients_are_those_of_finite_differences():
    logits, targets = scores()
    exact = logits.detach().double().requires_grad_()

    def loss(given: torch.Tensor) -> torch.Tensor:
        largest = given.topk(4).values
        return (largest.logsumexp(-1) - given.gather(1, targets[:, None])[:, 0]).mean()

    assert torch.autograd.gradcheck(loss, exact)
    sparse(logits, targets, 4).backward()
    (wanted,) = torch.autograd.grad(loss(exact), exact)
    assert torch.allclose(logits.grad, wanted.float(), atol=1e-6)
