"""WEISSI: what rescaling leaves as it is, the rule for biases, and the balanced form."""

from __future__ import annotations

import math

import pytest
import torch

from nlpx.tricks.weissi import balance, penalties, rescaled

FACTORS = (2.0, 0.25, 2.0)


def layers(*, bias: bool = True) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [(draw(rows, columns), draw(rows) if bias else None) for columns, rows in ((4, 5), (5, 6), (6, 3))]


def output(net: list[tuple[torch.Tensor, torch.Tensor | None]]) -> torch.Tensor:
    x = torch.linspace(-1, 1, 8, dtype=torch.float64).view(2, 4)
    for number, (weight, bias) in enumerate(net):
        x = torch.nn.functional.linear(x, weight, bias)
        x = x.relu() if number < len(net) - 1 else x
    return x


def weights(net: list[tuple[torch.Tensor, torch.Tensor | None]]) -> list[torch.Tensor]:
    return [weight for weight, _ in net]


def test_the_function_is_the_same_with_the_product_of_all_factors_on_each_bias():
    net = layers()
    assert torch.allclose(output(rescaled(net, FACTORS)), output(net), atol=1e-10)
    each = [(weight * factor, bias * factor) for (weight, bias), factor in zip(net, FACTORS, strict=True)]
    assert (output(each) - output(net)).abs().max() > 0.1  # the rule as it was printed


def test_neither_part_sees_scale_that_moves():
    net = layers()
    norms, directions = penalties(weights(net))
    moved_norms, moved_directions = penalties(weights(rescaled(net, FACTORS)))
    assert float(moved_norms) == pytest.approx(float(norms), abs=1e-10)
    assert float(moved_directions) == pytest.approx(float(directions), abs=1e-10)
    squares = [sum(float(weight.square().sum()) for weight in weights(each)) for each in (net, rescaled(net, FACTORS))]
    assert abs(squares[0] - squares[1]) > 1


def test_the_second_part_sees_no_scale_at_all():
    net = layers()
    alone = penalties([3 * net[0][0], *weights(net)[1:]])
    assert float(alone[1]) == pytest.approx(float(penalties(weights(net))[1]), abs=1e-10)
    assert float(alone[0] - penalties(weights(net))[0]) == pytest.approx(math.log(3))


def test_the_second_part_has_known_bounds():
    assert float(penalties([torch.tensor([[-7.0]])])[1]) == pytest.approx(1)
    assert float(penalties([torch.full((3, 4), -0.2)])[1]) == pytest.approx(12**0.5)
    for weight in weights(layers()):
        assert 1 <= float(penalties([weight])[1]) <= weight.numel() ** 0.5


def test_the_gradient_of_the_first_part_has_product_one_with_the_weight():
    for weight in weights(layers()):
        leaf = weight.clone().requires_grad_()
        (slope,) = torch.autograd.grad(penalties([leaf])[0], leaf)
        assert float((leaf * slope).sum()) == pytest.approx(1)


def test_gradients_are_those_of_finite_differences():
    leaves = [weight.clone().requires_grad_() for weight in weights(layers())]
    assert torch.autograd.gradcheck(lambda *given: sum(penalties(given)), leaves)


def test_a_matrix_of_zeros_has_a_finite_penalty():
    leaf = torch.zeros(2, 2, requires_grad=True)
    norms, directions = penalties([leaf])
    assert torch.isfinite(norms)
    (norms + directions).backward()
    assert torch.isfinite(leaf.grad).all()


def test_the_balanced_net_reaches_the_least_squares():
    net = layers()
    found = balance({f"layer{number}": weight for number, weight in enumerate(weights(net))})
    norms = [float(weight.norm()) for weight in weights(net)]
    assert found.smallest == pytest.approx(3 * math.prod(norms) ** (2 / 3))
    assert found.squares == pytest.approx(sum(norm**2 for norm in norms))
    assert math.prod(found.factors.values()) == pytest.approx(1)
    balanced = rescaled(net, list(found.factors.values()))
    assert sum(float(weight.square().sum()) for weight in weights(balanced)) == pytest.approx(found.smallest)
    assert torch.allclose(output(balanced), output(net), atol=1e-10)
