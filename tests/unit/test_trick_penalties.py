"""Penalties on gradients: their own gradient against finite differences, through every loss and kind of encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import writing
from nlpx.configuration import registry
from nlpx.configuration.section import plugin_config
from nlpx.losses import LossFacts
from nlpx.models.transformer import Transformer
from nlpx.objectives import ObjectiveOutput
from trick_models import NUM_CLASSES, batch, cross_entropy, encoder, gradients, objective_of, trick

PENALTIES: list[tuple[str, dict[str, Any]]] = [
    ("gradient_penalty", {"epsilon": 1.0, "on": "output"}),
    ("gradient_penalty", {"epsilon": 1.0, "on": "table"}),
    ("parameter_gradient_penalty", {"weight": 0.1}),
]
CLASS_LOSSES = [name for name in registry.plugins("losses") if registry.load("losses", name).TARGETS == "classes"]


@pytest.mark.parametrize("loss_name", CLASS_LOSSES)
@pytest.mark.parametrize(("name", "settings"), PENALTIES, ids=[f"{n}-{s.get('on', '')}" for n, s in PENALTIES])
def test_the_gradient_of_a_penalty_is_that_of_finite_differences(name, settings, loss_name):
    chosen = {"window": 10**9} if loss_name == "f1" else {}  # its F1 is a constant: it must not move with the weights
    loss = registry.load("losses", loss_name).Loss(plugin_config("losses", loss_name)(**chosen), LossFacts((5, 3, 2)))
    model, objective = encoder(hidden_act="tanh").double().train(), objective_of(loss)
    objective(model, batch())
    check(name, settings, model, objective, batch())


@pytest.mark.parametrize("choices", [{"norm": "rms"}, {"position": "relative"}, {"feed_forward": "gated"}], ids=str)
@pytest.mark.parametrize(("name", "settings"), PENALTIES[::2], ids=[n for n, _ in PENALTIES[::2]])
def test_so_it_is_through_other_parts(name, settings, choices):
    check(name, settings, encoder(**choices).double().train(), cross_entropy, batch())


@pytest.mark.parametrize(("name", "settings"), PENALTIES[::2], ids=[n for n, _ in PENALTIES[::2]])
@pytest.mark.parametrize("loss_name", ["none", "token_cross_entropy", "sparse_softmax"])
def test_so_it_is_where_texts_are_written(name, settings, loss_name):
    """`none` is the loss in slices, whose gradient is written by hand."""
    given = writing.task()
    if loss_name == "none":
        objective = given.objective
    else:
        given.keep_logits = True
        loss = registry.load("losses", loss_name).Loss(plugin_config("losses", loss_name)())

        def objective(network: Any, rows: dict[str, Any]) -> ObjectiveOutput:
            found = given.forward(network, rows)
            return ObjectiveOutput(loss(found, rows), dict(found))

    network = writing.model(num_layers=1, hidden_act="tanh").double().train()
    step = 3e-4 if loss_name == "sparse_softmax" else 3e-3  # a longer one changes which logits are the largest
    check(name, settings, network, objective, writing.batch_of(given), step)


@pytest.mark.parametrize(("name", "settings"), PENALTIES[::2], ids=[n for n, _ in PENALTIES[::2]])
def test_so_it_is_through_an_encoder_of_transformers(name, settings):
    """Its attention is torch's fused one, which has no second derivative."""
    check(name, settings, foreign_encoder(hidden_act="gelu_new").double().train(), cross_entropy, batch())


@pytest.mark.parametrize("name", ["fgm", "pgd", "r_drop", "vat", "flooding", "weissi", "multi_sample_dropout"])
def test_an_encoder_of_transformers_takes_every_trick(name):
    model, given = foreign_encoder(hidden_dropout_prob=0.1).train(), batch()
    settings = {"rate": 0.3} if name == "multi_sample_dropout" else {}  # its classifier has no dropout
    found = trick(name, **settings).wrap(cross_entropy)(model, given)
    found.loss.backward()
    assert list(found.shares) == [name]
    assert model.classifier.weight.grad.abs().sum() > 0


def foreign_encoder(**choices: Any) -> Any:
    from transformers import BertConfig, BertModel

    from nlpx.models.checkpoints.backbone import Backbone

    torch.manual_seed(4)
    sizes = {"vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    others = {"intermediate_size": 8, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig(**(sizes | others | {"initializer_range": 0.4, "attn_implementation": "sdpa"} | choices))
    return Backbone(BertModel(config), num_labels=NUM_CLASSES)


def check(
    name: str, settings: dict[str, Any], model: Transformer, objective: Any, given: dict[str, Any], step: float = 3e-3
) -> None:
    """The slope of the penalty along its own gradient, and along random directions of all weights.

    Losses are float32: with values of order one and a step h, rounding leaves 1e-7 / h, and curvature h^2.
    """
    penalised = trick(name, **settings).wrap(objective)
    found = gradients(model, penalised(model, given).loss)
    plain = gradients(model, objective(model, given).loss)
    weights = list(model.parameters())
    own = [(one - other).expand_as(weight) for one, other, weight in zip(found, plain, weights, strict=True)]
    generator = torch.Generator().manual_seed(8)
    random = [torch.randn(weight.shape, generator=generator, dtype=weight.dtype) for weight in weights]
    assert norm(own) > 1e-3  # a penalty that were taken for a constant would have none
    for direction in (own, random):
        unit = [part / norm(direction) for part in direction]
        slope = sum(float((one * part).sum()) for one, part in zip(own, unit, strict=True))
        ahead, behind = (penalty_at(model, penalised, given, unit, sign * step) for sign in (1, -1))
        assert slope == pytest.approx((ahead - behind) / (2 * step), rel=0.02, abs=5e-4)


def norm(parts: list[torch.Tensor]) -> float:
    return sum(float(part.detach().square().sum()) for part in parts) ** 0.5


def penalty_at(
    model: Transformer, penalised: Any, given: dict[str, Any], direction: list[torch.Tensor], step: float
) -> float:
    """The share of the trick where the weights are moved along a direction."""
    weights = list(model.parameters())
    before = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight, part in zip(weights, direction, strict=True):
            weight.add_(step * part)
    (share,) = penalised(model, given).shares.values()
    with torch.no_grad():
        for weight, value in zip(weights, before, strict=True):
            weight.copy_(value)
    return float(share)


def test_the_penalty_is_the_square_of_the_gradient_at_each_occurrence():
    model, given = encoder().train(), batch()
    vectors = model.get_input_embeddings()(given["token_ids"]).detach().requires_grad_()  # (B, T, E)
    logits = model(inputs_embeds=vectors, attention_mask=given["attention_mask"]).heads["classification"]
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, given["labels"]), vectors)
    found = trick("gradient_penalty", epsilon=0.8).wrap(cross_entropy)(model, given)
    assert float(found.shares["gradient_penalty"]) == pytest.approx(0.4 * float(gradient.square().sum()), rel=1e-4)


def test_on_the_table_it_is_the_square_of_the_tables_gradient():
    model, given = encoder().train(), batch()
    table = model.get_input_embeddings().weight
    (gradient,) = torch.autograd.grad(cross_entropy(model, given).loss, table)
    found = trick("gradient_penalty", epsilon=0.8, on="table").wrap(cross_entropy)(model, given)
    assert float(found.shares["gradient_penalty"]) == pytest.approx(0.4 * float(gradient.square().sum()), rel=1e-4)


def test_the_penalty_on_the_weights_is_the_square_of_their_gradient():
    model, given = encoder().train(), batch()
    square = sum(float(part.square().sum()) for part in gradients(model, cross_entropy(model, given).loss))
    found = trick("parameter_gradient_penalty", weight=0.3).wrap(cross_entropy)(model, given)
    assert float(found.shares["parameter_gradient_penalty"]) == pytest.approx(0.3 * square, rel=1e-4)


@pytest.mark.parametrize(("name", "settings"), PENALTIES[::2], ids=[n for n, _ in PENALTIES[::2]])
@pytest.mark.parametrize("loss_name", ["binary_cross_entropy", "zlpr", "cosent", "distillation"])
def test_so_it_is_through_losses_of_other_targets(name, settings, loss_name):
    loss = registry.load("losses", loss_name).Loss(plugin_config("losses", loss_name)(), LossFacts())
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]])

    def objective(model: Any, given: dict[str, Any]) -> ObjectiveOutput:
        output = model(given["token_ids"], None, given["attention_mask"])
        logits, vectors = output.heads["classification"], output.last_hidden_state.mean(1)  # (B, C), (B, D)
        cosines = torch.nn.functional.cosine_similarity(vectors, vectors.roll(1, 0))  # (B,)
        labels = targets[:, 0] if loss_name == "cosent" else targets
        rows = {"labels": labels, "targets": targets + 0.1}
        return ObjectiveOutput(loss({"logits": logits, "vectors": vectors, "cosines": cosines}, rows))

    check(name, settings, encoder(hidden_act="tanh").double().train(), objective, batch(), step=1e-3)


def test_no_loss_is_left_out():
    tried = {
        *CLASS_LOSSES,
        "token_cross_entropy",
        "sparse_softmax",
        "binary_cross_entropy",
        "zlpr",
        "cosent",
        "distillation",
    }
    assert tried == set(registry.plugins("losses"))
