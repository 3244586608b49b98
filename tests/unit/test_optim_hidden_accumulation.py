"""Accumulation in the moments: exact where it is said to be, and as far off as it is said to be where not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nlpx.configuration import registry
from nlpx.errors import UsageError
from nlpx.optim.config import OptimConfig, optimizer_names
from nlpx.optim.groups import build_optimizer

# Those with a rule in two halves; the others keep their own moments and refuse.
GATHERING = [name for name in optimizer_names() if hasattr(registry.load("optim", name), "Rule")]
EXACT = ("sgd", "tiger")
ROWS = 12


def gradients(count, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(ROWS, 5, generator=generator, dtype=torch.float64) for _ in range(count)]


def started(name, steps, **config):
    generator = torch.Generator().manual_seed(0)
    model = nn.Module()
    model.weight = nn.Parameter(torch.randn(ROWS, 5, generator=generator, dtype=torch.float64))
    wrappers = {} if steps is None else {"hidden_accumulation": {"steps": steps}}
    settings = {"name": name, "learning_rate": 0.01, "weight_decay": 0.1, "wrappers": wrappers} | config
    return model, build_optimizer(model, OptimConfig.model_validate(settings))


def run(name, steps, given, **config):
    """The weights after each of the given gradients."""
    model, optimizer = started(name, steps, **config)
    course = []
    for gradient in given:
        model.weight.grad = gradient.clone()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        course.append(model.weight.detach().clone())
    return course, optimizer


def means(given, steps):
    return [torch.stack(given[start : start + steps]).mean(0) for start in range(0, len(given), steps)]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("steps", [2, 3, 4])
def test_ten_updates_equal_those_of_buffered_means(name, steps):
    given = gradients(10 * steps)
    hidden, _ = run(name, steps, given)
    buffered, _ = run(name, None, means(given, steps))
    for ours, theirs in zip(hidden[steps - 1 :: steps], buffered, strict=True):
        assert float((ours - theirs).abs().max()) <= 1e-12


@pytest.mark.parametrize("name", GATHERING)
def test_weights_rest_inside_a_window(name):
    start = started(name, 4)[0].weight.detach()
    course, _ = run(name, 4, gradients(9))
    assert all(torch.equal(weights, start) for weights in course[:3])
    assert not torch.equal(course[3], start)
    assert all(torch.equal(weights, course[3]) for weights in course[4:7])
    assert torch.equal(course[8], course[7])
    assert not torch.equal(course[7], course[6])


@pytest.mark.parametrize("name", GATHERING)
def test_one_step_is_the_optimizer_itself(name):
    given = gradients(6)
    hidden, _ = run(name, 1, given)
    spared = {"wrappers": {"layer_adaptation": {"exclude": ["*"]}}}
    plain, _ = run(name, None, given, **spared)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(hidden, plain, strict=True))


@pytest.mark.parametrize("name", GATHERING)
def test_equal_gradients_in_each_window_are_exact_for_adam_too(name):
    distinct = gradients(10)
    given = [gradient for gradient in distinct for _ in range(4)]
    hidden, _ = run(name, 4, given)
    buffered, _ = run(name, None, distinct, wrappers={"layer_adaptation": {"exclude": ["*"]}})
    for ours, theirs in zip(hidden[3::4], buffered, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-13, rtol=1e-13)


def test_a_constant_gradient_is_what_the_corrected_moments_say():
    gradient = gradients(1)[0]
    model, optimizer = started("adamw", 4)
    for count in range(1, 33):
        model.weight.grad = gradient.clone()
        optimizer.step()
        if count % 4 == 0:
            state, updates = optimizer.state[model.weight], count // 4
            torch.testing.assert_close(state["first"] / (1 - 0.9**updates), gradient, atol=1e-13, rtol=1e-13)
            torch.testing.assert_close(state["second"] / (1 - 0.999**updates), gradient**2, atol=1e-13, rtol=1e-12)


def test_noise_makes_adams_second_moment_k_times_as_large():
    """The caveat, as a figure: means of squares 1, squares of means 1 / 4."""
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(ROWS, 5, generator=generator, dtype=torch.float64) for _ in range(4000)]
    _, hidden = run("adamw", 4, given, options={"betas": (0.9, 0.99)})
    _, buffered = run("adamw", 1, means(given, 4), options={"betas": (0.9, 0.99)})
    second = [next(iter(optimizer.state.values()))["second"].mean() for optimizer in (hidden, buffered)]
    assert float(second[0] / second[1]) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("name", GATHERING)
def test_nothing_more_is_remembered(name):
    def tensors(optimizer):
        return sum(isinstance(value, torch.Tensor) for state in optimizer.state.values() for value in state.values())

    given = gradients(7)
    assert tensors(run(name, 4, given)[1]) == tensors(run(name, 1, given)[1]) == {"adamw": 2}.get(name, 1)


@pytest.mark.parametrize("name", EXACT)
def test_a_part_without_a_gradient_in_some_batches_is_exact_too(name):
    """Its average decays once an update, at the first gradient there is; the rest of the window is not lost."""
    given, present = gradients(6), (False, True, True, True, False, False)
    model, optimizer = started(name, 3)
    for gradient, there in zip(given, present, strict=True):
        model.weight.grad = gradient.clone() if there else None
        optimizer.step()
    sums = [(given[1] + given[2]) / 3, given[3] / 3]
    buffered, _ = run(name, None, sums)
    assert float((model.weight.detach() - buffered[-1]).abs().max()) <= 1e-12


def test_fractions_may_be_given():
    """Batches of unequal size: two thirds and one third are what one batch of all rows gives."""
    first, second = gradients(2)
    model, optimizer = started("sgd", 2)
    for gradient, fraction in ((first, 2 / 3), (second, 1 / 3)):
        model.weight.grad = gradient.clone()
        optimizer.accumulate(fraction)
    optimizer.move()
    buffered, _ = run("sgd", None, [(2 * first + second) / 3])
    assert float((model.weight.detach() - buffered[0]).abs().max()) <= 1e-15


def test_a_state_of_an_earlier_version_goes_on_in_the_middle_of_a_window():
    first, second = gradients(2)
    model, optimizer = started("sgd", 2)
    model.weight.grad = first.clone()
    optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    for values in (*saved["state"].values(), *saved["param_groups"]):
        for old, new in (("gathering", "is_accumulating"), ("num_gathered", "num_accumulated")):
            if new in values:
                values[old] = values.pop(new)
    resumed, other = started("sgd", 2)
    other.load_state_dict(saved)
    for weights, stepping in ((model, optimizer), (resumed, other)):
        weights.weight.grad = second.clone()
        stepping.step()
    assert torch.equal(resumed.weight, model.weight)


@pytest.mark.parametrize("name", sorted(set(optimizer_names()) - set(GATHERING)))
def test_an_optimizer_that_keeps_its_own_moments_refuses(name):
    with pytest.raises(UsageError, match="this one keeps its own"):
        started(name, 2)
