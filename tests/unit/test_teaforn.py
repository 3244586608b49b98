"""TeaForN on a small UniLM model: which tokens each pass depends on, its loss, and its neutral settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from nlpx.errors import UsageError
from nlpx.tricks.teaforn import Config, Trick, expected_vectors, scaled_like
from writing import batch_of, model, task

PAIR = [("春夏秋", "风雨雷电")]
FIRST = 4  # the position of the source's [SEP], which stands for w_0


def trick(**options: Any) -> Trick:
    return Trick(Config.model_validate({"passes": 3, "discount": 0.5} | options))


def objective() -> Any:
    given = task(max_target_length=6)
    given.keep_logits = True
    return given.objective


def passes(network: Any, batch: dict[str, Any], count: int, **options: Any) -> list[Any]:
    """What each pass predicts the targets by: logits (N, V) of pass 1, 2, ..."""
    found, inner, teaforn = [], objective(), trick(**options)
    for _ in range(count):
        output = inner(network, batch)
        found.append(output.outputs["logits"])
        batch = batch | {"inputs_embeds": teaforn.inputs(network, batch, output.outputs)}
    return found


def gradients(network: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    network.zero_grad()
    loss.backward()
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("options", [{"passes": 1}, {"discount": 0}])
def test_neutral_settings_are_teacher_forcing(options):
    inner = objective()
    assert trick(**options).wrap(inner) is inner


def test_a_vanishing_discount_gives_the_gradient_of_teacher_forcing():
    network, inner, batch = model().train(), objective(), batch_of(task(max_target_length=6), PAIR)
    plain = gradients(network, inner(network, batch).loss)
    small = gradients(network, trick(discount=1e-6).wrap(inner)(network, batch).loss)
    assert all(torch.allclose(plain[name], small[name], atol=1e-4) for name in plain)


def test_an_evaluation_is_one_pass():
    network, inner, batch = model().eval(), objective(), batch_of(task(max_target_length=6), PAIR)
    assert torch.equal(trick().wrap(inner)(network, batch).loss, inner(network, batch).loss)


@pytest.mark.parametrize("feedback", ["states", "normalized", "expected"])
def test_pass_i_sees_the_tokens_up_to_t_minus_i(feedback):
    """Another w_k changes what pass i predicts at t if k <= t - i, and nothing before."""
    network = model().eval()
    batch = batch_of(task(max_target_length=6), PAIR)
    plain = passes(network, batch, 3, feedback=feedback)
    num_targets = len(plain[0])  # w_1 ... w_5, the last one [SEP]
    for k in range(1, num_targets):
        other = batch | {"token_ids": batch["token_ids"].clone()}
        other["token_ids"][0, FIRST + k] += 1
        changed = passes(network, other, 3, feedback=feedback)
        for i, (before, after) in enumerate(zip(plain, changed, strict=True), start=1):
            for t in range(1, num_targets + 1):
                same = torch.equal(before[t - 1], after[t - 1])
                assert same == (k > t - i), (k, i, t)


def test_every_pass_predicts_the_first_token_alike():
    found = passes(model().eval(), batch_of(task(max_target_length=6), PAIR), 3)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][0], found[2][0])
    assert not torch.equal(found[0][1], found[1][1])


def test_the_loss_is_the_sum_over_the_passes_and_linear_in_their_weights():
    network, inner, batch = model().train(), objective(), batch_of(task(max_target_length=6))
    targets = batch["targets"]
    each = [torch.nn.functional.cross_entropy(logits, targets) for logits in passes(network, batch, 3)]
    for discount in (0.3, 0.5, 1.0):
        found = trick(discount=discount).wrap(inner)(network, batch).loss
        assert torch.allclose(found, each[0] + discount * each[1] + discount**2 * each[2], rtol=1e-5)
    two = [trick(passes=2, discount=weight).wrap(inner)(network, batch).loss for weight in (0.25, 0.5, 0.75)]
    assert torch.allclose(two[2] - two[1], two[1] - two[0], rtol=1e-4)


def test_later_passes_train_what_earlier_ones_have_said():
    """Gradients are those of finite differences, through all passes."""
    network, inner = model().train(), objective()
    batch = batch_of(task(max_target_length=6), PAIR)
    wrapped = trick().wrap(inner)
    network.double()
    weight = network.layers[0].feed_forward.input.weight
    found = gradients(network, wrapped(network, batch).loss)["layers.0.feed_forward.input.weight"]
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    step = 1e-3
    with torch.no_grad():
        weight += step * direction
        ahead = wrapped(network, batch).loss
        weight -= 2 * step * direction
        behind = wrapped(network, batch).loss
    slope = float(ahead - behind) / (2 * step)
    assert slope == pytest.approx(float((found * direction).sum()), rel=1e-2)


def test_the_whole_vocabulary_and_a_certain_token_give_its_vector():
    table = torch.randn(9, 4, generator=torch.Generator().manual_seed(6))
    logits = torch.full((3, 9), -1e4)
    logits[range(3), [2, 7, 0]] = 0.0
    for top_k in (0, 9, 4, 1):
        assert torch.allclose(expected_vectors(logits, table, top_k), table[[2, 7, 0]])


def test_expected_vectors_are_their_formula():
    generator = torch.Generator().manual_seed(7)
    table, logits = torch.randn(9, 4, generator=generator), torch.randn(5, 9, generator=generator)
    shares = logits.softmax(-1)
    shares[shares < shares.topk(4).values[:, -1:]] = 0
    assert torch.allclose(expected_vectors(logits, table, 4), shares @ table / shares.sum(-1, keepdim=True), atol=1e-6)
    assert torch.allclose(expected_vectors(logits, table, 0), logits.softmax(-1) @ table, atol=1e-6)


def test_normalized_states_are_as_long_as_word_vectors():
    generator = torch.Generator().manual_seed(8)
    states, table = 9 + torch.randn(5, 16, generator=generator), 0.02 * torch.randn(30, 16, generator=generator)
    found = scaled_like(states, table)
    assert torch.allclose(found.mean(-1), torch.zeros(5), atol=1e-6)
    assert torch.allclose(found.square().mean(-1).sqrt(), table.square().mean().sqrt().expand(5), rtol=1e-3)


def test_states_of_another_size_than_word_vectors_are_refused():
    network, batch = model(embedding_size=8).train(), batch_of(task(max_target_length=6), PAIR)
    with pytest.raises(UsageError, match="feeds states of 16 numbers back as word vectors of 8"):
        trick().wrap(objective())(network, batch)
    assert trick(feedback="expected").wrap(objective())(network, batch).loss > 0
    with pytest.raises(ValidationError, match="top_k is of feedback `expected`"):
        trick(top_k=3)
