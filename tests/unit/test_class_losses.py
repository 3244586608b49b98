"""Losses of classes, label sets and ordered pairs, against their formulas written out plainly."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from nlpx.configuration import registry
from nlpx.configuration.section import plugin_config
from nlpx.errors import UsageError
from nlpx.losses import LossFacts
from nlpx.losses.zlpr import dense, sparse
from nlpx.runs.objective import TaskObjective

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toy_run

COUNTS = (6, 3, 1)
ROWS, CLASSES = 7, 3


def scores(rows: int = ROWS, classes: int = CLASSES) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(rows, classes, generator=generator)
    return logits, torch.randint(classes, (rows,), generator=generator)


def built(name: str, counts: tuple[int, ...] = COUNTS, **settings: Any) -> Any:
    return registry.load("losses", name).Loss(plugin_config("losses", name)(**settings), LossFacts(counts))


def value(name: str, logits: torch.Tensor, labels: torch.Tensor, **settings: Any) -> float:
    return float(built(name, **settings)({"logits": logits}, {"labels": labels}))


def probabilities(logits: torch.Tensor, labels: torch.Tensor) -> list[float]:
    return logits.double().softmax(-1)[range(len(labels)), labels].tolist()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weighted_cross_entropy_is_a_mean_over_rows(smoothing):
    logits, labels = scores()
    weights = [10 / (3 * count) for count in COUNTS]
    log_p = logits.double().log_softmax(-1)
    each = [
        (1 - smoothing) * weights[label] * -float(log_p[row, label])
        + smoothing / 3 * sum(weights[c] * -float(log_p[row, c]) for c in range(3))
        for row, label in enumerate(labels.tolist())
    ]
    found = value("cross_entropy", logits, labels, class_weights="balanced", smoothing=smoothing)
    assert found == pytest.approx(sum(each) / ROWS, rel=1e-5)


def test_balanced_weights_are_one_on_average_over_the_training_rows():
    weights = built("cross_entropy", class_weights="balanced").weights
    assert sum(count * weight for count, weight in zip(COUNTS, weights, strict=True)) == pytest.approx(sum(COUNTS))
    assert weights[2] == pytest.approx(6 * weights[0])


def test_given_weights_are_taken_as_they_are():
    logits, labels = scores()
    chosen = (0.5, 2.0, 1.0)
    each = functional.cross_entropy(logits, labels, reduction="none")
    wanted = (each * torch.tensor(chosen)[labels]).mean()
    for name in ("cross_entropy", "focal"):
        settings = {"gamma": 0.0} if name == "focal" else {}
        assert value(name, logits, labels, class_weights=chosen, **settings) == pytest.approx(float(wanted), rel=1e-5)
    with pytest.raises(UsageError, match="2 numbers for 3 classes"):
        built("focal", class_weights=(1.0, 2.0))
    with pytest.raises(UsageError, match="does not count"):
        built("focal", counts=(), class_weights="balanced")


def test_neutral_settings_are_cross_entropy():
    logits, labels = scores()
    plain = float(functional.cross_entropy(logits, labels))
    assert value("cross_entropy", logits, labels) == plain
    assert value("cross_entropy", logits, labels, class_weights=(1.0, 1.0, 1.0)) == pytest.approx(plain, rel=1e-6)
    assert value("focal", logits, labels, gamma=0) == pytest.approx(plain, rel=1e-6)
    assert value("logit_adjustment", logits, labels, tau=0) == plain
    for tau in (0.5, 1.0, 2.0):
        assert value("logit_adjustment", logits, labels, tau=tau, counts=(4, 4, 4)) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_is_its_formula(gamma):
    logits, labels = scores()
    wanted = sum(-((1 - p) ** gamma) * math.log(p) for p in probabilities(logits, labels)) / ROWS
    assert value("focal", logits, labels, gamma=gamma) == pytest.approx(wanted, rel=1e-5)


def test_focal_of_two_classes_is_the_papers():
    logits, labels = scores(classes=2)
    alpha, gamma, total = 0.25, 2.0, 0.0
    for (first, second), label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        p = 1 / (1 + math.exp(first - second))
        total += -alpha * (1 - p) ** gamma * math.log(p) if label else -(1 - alpha) * p**gamma * math.log(1 - p)
    found = value("focal", logits, labels, counts=(5, 5), gamma=gamma, class_weights=(1 - alpha, alpha))
    assert found == pytest.approx(total / ROWS, rel=1e-5)


def test_softened_truncation_with_one_is_focal_with_one():
    logits, labels = scores()
    assert value("softened_truncation", logits, labels, k=1) == pytest.approx(
        value("focal", logits, labels, gamma=1), rel=1e-5
    )


@pytest.mark.parametrize("k", [0.5, 3.0])
def test_softened_truncation_of_two_classes_is_the_posts(k):
    logits, labels = scores(classes=2)
    total = 0.0
    for (first, second), label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        s = second - first if label else first - second
        total += -1 / (1 + math.exp(k * s)) * math.log(1 / (1 + math.exp(-s)))
    assert value("softened_truncation", logits, labels, counts=(5, 5), k=k) == pytest.approx(total / ROWS, rel=1e-5)


def test_softened_truncation_leaves_out_what_is_right_beyond_doubt():
    logits = torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    labels = torch.tensor([0, 0])
    each = [value("softened_truncation", logits[[row]], labels[[row]], k=40.0) for row in range(2)]
    assert each[0] == pytest.approx(0, abs=1e-9)
    assert each[1] == pytest.approx(float(functional.cross_entropy(logits[[1]], labels[[1]])), rel=1e-4)


@pytest.mark.parametrize("smoothing", [0.01, 1.0])
def test_dice_is_its_formula(smoothing):
    logits, labels = scores()
    p = logits.double().softmax(-1)
    fractions = []
    for c in range(CLASSES):
        y = (labels == c).double()
        fractions.append((2 * (p[:, c] * y).sum() + smoothing) / (p[:, c].sum() + y.sum() + smoothing))
    wanted = 1 - float(sum(fractions)) / CLASSES
    assert value("dice", logits, labels, smoothing=smoothing) == pytest.approx(wanted, rel=1e-5)


def test_perfect_answers_have_no_dice_loss():
    labels = torch.tensor([0, 1, 2, 2])
    assert value("dice", 100.0 * functional.one_hot(labels, 3), labels) == pytest.approx(0, abs=1e-6)


def test_f1_weighs_as_its_formula_says():
    logits, labels = scores()
    p = logits.double().softmax(-1)
    total = 0.0
    for c in range(CLASSES):
        y = (labels == c).double()
        half = float((p[:, c] * y).sum() / (p[:, c] + y).sum())
        total += float(-(y * (1 - half) * p[:, c].log() + (1 - y) * half * (1 - p[:, c]).log()).sum())
    assert value("f1", logits, labels) == pytest.approx(total / (ROWS * CLASSES), rel=1e-4)


def test_with_an_f1_of_one_it_is_half_of_cross_entropy():
    loss = built("f1", counts=(5, 5))
    loss.both = loss.either = torch.ones(2)
    logits, labels = scores(classes=2)
    found = float(loss({"logits": logits}, {"labels": labels}))
    assert found == pytest.approx(float(functional.cross_entropy(logits, labels)) / 2, rel=1e-5)


def test_the_gradient_of_f1_has_its_weights():
    """The gradient of the smooth F1 is 2 E[(y - F / 2) grad p] / E[y + p]: the same weights on y and 1 - y."""
    p = torch.rand(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    y = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0, 0]).double()
    smooth = 2 * (y * p).mean() / (y + p).mean()
    (slope,) = torch.autograd.grad(smooth, p)
    wanted = 2 * (y - smooth.detach() / 2) / 9 / (y + p.detach()).mean()
    assert torch.allclose(slope, wanted, atol=1e-12)


def test_f1_is_that_of_the_batches_before_and_saved():
    logits, labels = scores()
    loss, other = built("f1", window=4), built("f1", window=4)
    given = {"logits": logits}, {"labels": labels}
    first = float(loss(*given))
    both = loss.both.clone()
    loss({"logits": -logits}, {"labels": labels})
    p = (-logits).softmax(-1)
    y = functional.one_hot(labels, CLASSES).float()
    assert torch.allclose(loss.both, 0.75 * both + 0.25 * 2 * (p * y).sum(0), atol=1e-6)
    assert float(loss(*given)) != first
    other.load_state_dict(loss.state_dict())
    assert float(other(*given)) == float(loss(*given))
    with torch.no_grad():
        before = loss.both.clone()
        loss(*given)
        assert torch.equal(before, loss.both)


def test_adjusted_logits_are_cross_entropy_after_a_shift_of_the_biases():
    logits, labels = scores()
    prior = torch.tensor(COUNTS) / sum(COUNTS)
    wanted = functional.cross_entropy(logits + 1.5 * prior.log(), labels)
    assert value("logit_adjustment", logits, labels, tau=1.5) == pytest.approx(float(wanted), rel=1e-6)
    ratios = (prior[None, :] / prior[labels][:, None]) ** 1.5
    others = 1 - functional.one_hot(labels, CLASSES)
    gaps = (logits - logits.gather(1, labels[:, None])).exp()
    plain = (1 + (others * ratios * gaps).sum(-1)).log().mean()
    assert value("logit_adjustment", logits, labels, tau=1.5) == pytest.approx(float(plain), rel=1e-5)


def test_the_rule_of_decision_follows_from_what_is_to_be_best():
    assert built("logit_adjustment").decision_shift is None
    shift = built("logit_adjustment", decide_for="accuracy").decision_shift
    assert shift == pytest.approx([math.log(count / 10) for count in COUNTS])


def test_the_rules_are_the_best_ones_where_the_loss_is_at_its_least():
    """Two classes at odds of 9 to 1, one feature with two values: the adjusted loss is minimised in closed form.

    P(x | y) is 0.6 / 0.4. The least loss has f + log prior = log P(y | x) + constant, so f = log P(x | y).
    """
    prior, likelihood = torch.tensor([0.9, 0.1]), torch.tensor([[0.6, 0.4], [0.4, 0.6]])  # [x, y]
    logits = likelihood.log().requires_grad_()  # (X, C)
    loss = built("logit_adjustment", counts=(9, 1), decide_for="accuracy")
    weights = likelihood * prior  # P(x, y)
    total = sum(
        weights[x, y] * loss({"logits": logits[[x]]}, {"labels": torch.tensor([y])}) for x in range(2) for y in range(2)
    )
    (slope,) = torch.autograd.grad(total, logits)
    assert torch.allclose(slope, torch.zeros(2, 2), atol=1e-6)
    assert logits.argmax(-1).tolist() == [0, 1]  # balanced accuracy 0.6, the best there is
    assert (logits + torch.tensor(loss.decision_shift)).argmax(-1).tolist() == [0, 0]  # accuracy 0.9


def sets() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(4, 6, generator=generator)
    labels = torch.tensor([[1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 0, 0]])
    return logits, labels.float()


def test_zlpr_is_its_formula():
    logits, labels = sets()
    for row, found in enumerate(dense(logits, labels).tolist()):
        wrong = sum(math.exp(s) for s, y in zip(logits[row].tolist(), labels[row].tolist(), strict=True) if not y)
        right = sum(math.exp(-s) for s, y in zip(logits[row].tolist(), labels[row].tolist(), strict=True) if y)
        assert found == pytest.approx(math.log(1 + wrong) + math.log(1 + right), rel=1e-5)


def test_zlpr_of_zeros():
    labels = torch.tensor([[1.0] * 3 + [0.0] * 7])
    assert float(dense(torch.zeros(1, 10), labels)) == pytest.approx(math.log(8) + math.log(4), abs=1e-6)


def test_the_form_for_a_fixed_number_of_labels_is_cross_entropy_for_one():
    """log(1 + sum e^wrong * sum e^-right), of which plain ZLPR is an upper bound."""
    logits, labels = scores()
    chosen = functional.one_hot(labels, CLASSES).bool()
    wrong = logits.exp().masked_fill(chosen, 0).sum(-1)
    right = (-logits).exp().masked_fill(~chosen, 0).sum(-1)
    each = functional.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose((1 + wrong * right).log(), each, atol=1e-5)
    assert (dense(logits, chosen.float()) > each).all()


def label_ids(labels: torch.Tensor) -> torch.Tensor:
    width = int(labels.sum(-1).max())
    rows = [row.nonzero()[:, 0].tolist() for row in labels]
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows])


@pytest.mark.parametrize("threshold", [None, torch.tensor([0.3, -1.0, 2.0, 0.0])])
def test_dense_and_sparse_agree_with_gradients(threshold):
    logits, labels = sets()
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    first, second = dense(one, labels, threshold), sparse(other, label_ids(labels), threshold)
    assert torch.allclose(first, second, atol=1e-5)
    first.sum().backward()
    second.sum().backward()
    assert torch.isfinite(one.grad).all()
    assert torch.allclose(one.grad, other.grad, atol=1e-5)


def test_a_threshold_takes_the_place_of_zero():
    logits, labels = sets()
    threshold = torch.full((4,), 1.7)
    assert torch.allclose(dense(logits, labels, threshold), dense(logits - 1.7, labels), atol=1e-5)


def test_zlpr_does_not_depend_on_the_order_of_labels_and_takes_soft_ones():
    logits, labels = sets()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.allclose(dense(logits, labels), dense(logits[:, order], labels[:, order]), atol=1e-6)
    soft = labels * 0.8 + 0.1
    wrong = (1 + ((1 - soft) * logits.exp()).sum(-1)).log()
    right = (1 + (soft * (-logits).exp()).sum(-1)).log()
    assert torch.allclose(dense(logits, soft), wrong + right, atol=1e-5)


def test_zlpr_takes_what_a_task_gives():
    logits, labels = sets()
    loss = built("zlpr")
    one = loss({"logits": logits}, {"labels": labels})
    other = loss({"logits": logits}, {"label_ids": label_ids(labels)})
    assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(one, dense(logits, labels).mean())


def test_cosent_is_its_formula():
    cosines = torch.tensor([0.9, 0.2, 0.5, -0.3])
    wanted = torch.tensor([1.0, 3.0, 1.0, 0.0])
    total = 0.0
    for i in range(4):
        for j in range(4):
            total += math.exp(20 * float(cosines[j] - cosines[i])) if wanted[i] > wanted[j] else 0.0
    found = built("cosent")({"cosines": cosines}, {"labels": wanted})
    assert float(found) == pytest.approx(math.log(1 + total), rel=1e-5)


def test_cosent_without_an_order_is_zero():
    cosines = torch.tensor([0.9, 0.2], requires_grad=True)
    found = built("cosent")({"cosines": cosines}, {"labels": torch.tensor([1.0, 1.0])})
    found.backward()
    assert float(found) == 0
    assert (cosines.grad == 0).all()


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "f1", "focal", "logit_adjustment", "softened_truncation"])
def test_large_logits_have_finite_losses_and_gradients(name):
    logits = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]], requires_grad=True)
    loss = built(name)({"logits": logits}, {"labels": torch.tensor([0, 0])})
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_a_run_with_a_loss_that_averages_goes_on_bit_for_bit(tmp_path):
    def started() -> tuple[Any, Any, Any]:
        training, config = toy_run.build(tricks={"mixout": plugin_config("tricks", "mixout")()}, steps=6)
        training.loss = built("f1")
        task = SimpleNamespace(
            forward=lambda model, given: {"logits": model(given["token_ids"], given["attention_mask"])}
        )
        return training, config, TaskObjective(task, training.loss)

    training, config, objective = started()
    whole = toy_run.run(training, config, objective=objective)
    training, config, objective = started()
    first = toy_run.run(training, config, stop=3, objective=objective)
    training.save(tmp_path / "state")
    training, config, objective = started()
    training.load(tmp_path / "state")
    assert first + toy_run.run(training, config, objective=objective) == whole
