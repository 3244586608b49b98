"""R-Drop against the worked numbers of its formulas, and what it leaves as it is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from nlpx.errors import UsageError
from nlpx.objectives import ObjectiveOutput
from nlpx.tricks._divergence import both_ways, check_logits, each_way
from nlpx.tricks.r_drop import Config, Trick, symmetric_divergence
from writing import batch_of, model, task

P, Q = (torch.tensor([row]).log() for row in ((0.5, 0.2, 0.3), (0.5, 0.3, 0.2)))
BATCH = {"labels": torch.tensor([0]), "num_targets": 1}


def wrapped(*logits: torch.Tensor, **settings: Any) -> Any:
    """The trick around an objective that gives these logits one after the other."""
    given = iter(logits)

    def objective(_: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        found = next(given)
        return ObjectiveOutput(functional.cross_entropy(found, batch["labels"]), {"logits": found})

    return Trick(Config(**settings)).wrap(objective)


def test_the_worked_example():
    """Each divergence is 0.1 ln 1.5, both losses are ln 2: half of 1.548480."""
    assert float(symmetric_divergence(P, Q)) == pytest.approx(2 * 0.1 * math.log(1.5), rel=1e-5)
    loss = float(wrapped(P, Q)(nn.Identity().train(), BATCH).loss)
    assert loss == pytest.approx(0.774240, abs=1e-6)
    assert 2 * loss == pytest.approx(2 * math.log(2) + 4 / 2 * 2 * 0.0405465, abs=1e-6)


def test_it_is_torchs_divergence_both_ways():
    first, second = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1))
    one, other = first.log_softmax(-1), second.log_softmax(-1)
    wanted = sum(
        functional.kl_div(target, source, reduction="batchmean", log_target=True)
        for source, target in ((one, other), (other, one))
    )
    assert torch.allclose(symmetric_divergence(first, second), torch.as_tensor(wanted))
    assert symmetric_divergence(first, second) == symmetric_divergence(second, first)
    assert float(symmetric_divergence(first, first)) == 0


def test_without_weight_nothing_is_done():
    inner = lambda model, batch: None  # noqa: E731 - the very object is to come back
    assert Trick(Config(alpha=0)).wrap(inner) is inner


def test_an_evaluation_reads_once():
    loss = wrapped(P)(nn.Identity().eval(), BATCH).loss  # a second pass would find no logits
    assert float(loss) == pytest.approx(math.log(2))


def test_both_passes_get_a_gradient():
    first, second = P.clone().requires_grad_(), Q.clone().requires_grad_()
    symmetric_divergence(first, second).backward()
    assert first.grad is not None
    assert second.grad is not None
    assert (first.grad != 0).any()
    assert torch.allclose(first.grad[:, [0, 2, 1]], second.grad, atol=1e-6)  # Q is P with two classes changed over


def test_other_classes_count_although_cross_entropy_is_blind_to_them():
    swapped = float(wrapped(P, Q)(nn.Identity().train(), BATCH).loss)
    same = float(wrapped(P, P)(nn.Identity().train(), BATCH).loss)
    assert same == pytest.approx(math.log(2))
    assert swapped > same + 0.05


def test_gradients_are_those_of_finite_differences():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    symmetric_divergence(logits[0], logits[1]).backward()
    step, direction = 1e-2, torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ahead, behind = (symmetric_divergence(*(logits + sign * step * direction)) for sign in (1, -1))
    slope = float(ahead - behind) / (2 * step)
    assert logits.grad is not None
    assert slope == pytest.approx(float((logits.grad * direction).sum()), rel=1e-3)


def test_the_two_passes_have_dropout_of_their_own():
    given = task()
    given.keep_logits = True
    batch, objective = batch_of(given), Trick(Config(alpha=4)).wrap(given.objective)
    without, with_dropout = model(hidden_dropout=0.0).train(), model(hidden_dropout=0.3).train()
    assert torch.equal(objective(without, batch).loss, given.objective(without, batch).loss)
    first, second = (given.objective(with_dropout, batch).outputs["logits"] for _ in range(2))
    assert float(symmetric_divergence(first, second).detach()) > 0.01
    torch.manual_seed(1)
    halves = [given.objective(with_dropout, batch) for _ in range(2)]
    torch.manual_seed(1)
    found = objective(with_dropout, batch).loss
    divergence = symmetric_divergence(*(half.outputs["logits"] for half in halves))
    assert torch.allclose(found, (halves[0].loss + halves[1].loss) / 2 + divergence)


def test_logits_that_are_no_distribution_are_refused():
    with pytest.raises(UsageError, match=r"the logits are \(4,\)"):
        symmetric_divergence(torch.zeros(4), torch.zeros(4))


@pytest.mark.parametrize(
    ("normalization", "wanted"), [("code", 0.774240), ("paper", 1.548480), ("repository", 0.855333)]
)
def test_the_three_normalizations_of_the_worked_example(normalization, wanted):
    objective = wrapped(P, Q, normalization=normalization)
    assert float(objective(nn.Identity().train(), BATCH).loss) == pytest.approx(wanted, abs=1e-6)


def test_numbers_are_compared_by_their_squared_difference():
    first, second = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0])
    given = iter((first, second))

    def objective(_: Any, __: Any) -> ObjectiveOutput:
        return ObjectiveOutput(torch.zeros(()), {"logits": next(given)})

    found = Trick(Config(alpha=4, divergence="mse")).wrap(objective)(nn.Identity().train(), BATCH)
    assert float(found.loss) == pytest.approx(4 / 4 * 2 * (1 + 4) / 2)  # alpha / 4 of both ways, mean of the rows


def test_several_labels_are_coins_each():
    scores = torch.tensor([[0.3, -1.2, 2.0]]), torch.tensor([[1.0, 0.4, 1.5]])
    coins = [torch.distributions.Bernoulli(logits=each) for each in scores]
    wanted = sum(torch.distributions.kl_divergence(one, other).sum() for one, other in (coins, coins[::-1]))
    assert torch.allclose(both_ways(*scores, "bernoulli"), torch.as_tensor(wanted))
    one_way = torch.distributions.kl_divergence(*coins).sum()
    assert torch.allclose(each_way(*scores, "bernoulli"), one_way)
    batch = BATCH | {"labels": torch.zeros(1, 3)}
    with pytest.raises(UsageError, match="the rows have several labels"):
        check_logits(scores[0], batch, "kl", trick="r_drop")
