"""Replaced token detection: what is hidden and judged, the loss of the pair, gradients, figures (arXiv 2003.10555)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from nlpx.errors import UsageError
from nlpx.jobs.pretrain.evaluation import HeldOutRows, columns
from nlpx.jobs.pretrain.mix import Mix, trains_a_pair
from nlpx.models.replaced_token import ReplacedTokenModel, generator_config
from nlpx.models.transformer import Transformer
from nlpx.objectives import RowFacts, mlm, rtd
from nlpx.train.blocks import blocks
from nlpx.train.step import accumulating_backward, with_minor_weight

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import packed


def detection(**settings):
    return rtd.Objective(rtd.Config(**settings), packed.SPECIAL)


def pair(**choices):
    discriminator = packed.model(heads=("discriminator",), **choices)
    model = ReplacedTokenModel(Transformer(generator_config(discriminator.config, fraction=0.5)), discriminator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def made(*shapes, objective=None, seed=0):
    rows = packed.random_rows(*shapes, seed=seed)
    return (objective or detection()).batch(rows, packed.generators(len(rows)))


def test_hidden_words_become_masks_and_all_but_padding_is_judged():
    rows = packed.random_rows((14,), (5, 6), (3,))
    batch = detection(rate=0.3).batch(rows, packed.generators(3))
    token_ids, masked = batch["token_ids"], batch["masked_ids"]
    changed = (token_ids != masked).flatten().nonzero().flatten()
    assert torch.equal(changed, batch["lm_positions"])
    assert (masked.flatten()[changed] == packed.MASK).all()
    assert torch.equal(token_ids.flatten()[changed], batch["targets"])
    assert (batch["targets"] >= len(packed.SPECIAL.specials)).all()
    lengths = [len(row.token_ids) for row in rows]
    assert batch["is_judged"].sum(dim=1).tolist() == lengths
    assert batch["num_targets"] == sum(lengths)
    assert batch["num_minor_targets"] == len(batch["targets"])
    assert ((batch["uniform"] >= 0) & (batch["uniform"] < 1)).all()


def test_a_row_is_treated_the_same_in_any_company_and_anew_each_epoch():
    rows = packed.random_rows((20,), (9,), (20,))
    together = detection().batch(rows, packed.generators(3))
    alone = detection().batch(rows[2:], packed.generators(3)[2:])
    count = alone["num_minor_targets"]
    assert torch.equal(together["uniform"][-count:], alone["uniform"])
    assert torch.equal(together["masked_ids"][2], alone["masked_ids"][0])
    epochs = [detection().batch(rows[:1], packed.generators(1, epoch=epoch))["uniform"].tolist() for epoch in range(4)]
    assert len({tuple(draws) for draws in epochs}) == 4


@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_the_loss_is_the_generators_and_fifty_times_the_discriminators(position):
    """Computed piece by piece, without padding, without a mask."""
    model, batch = pair(position=position).eval(), made((14,), (5, 6), (3,))
    outputs = detection()(model, batch).outputs
    filled = batch["token_ids"].flatten().clone()
    wrong, right, judged = 0.0, 0.0, 0
    width, documents = batch["token_ids"].shape[1], batch["document_ids"]
    logits = torch.full((3 * width, packed.VOCAB), torch.nan)
    for row in range(3):
        for document in range(int(documents[row].max()) + 1):
            places = (documents[row] == document).nonzero().flatten()
            found = model.generator(batch["masked_ids"][row, places][None]).logits[0]
            logits[row * width + places] = found
    hidden = logits[batch["lm_positions"]]
    assert torch.allclose(outputs["generator_logits"], hidden, atol=1e-5)
    reached = hidden.softmax(-1).cumsum(-1)
    filled[batch["lm_positions"]] = (reached <= batch["uniform"][:, None]).sum(-1)
    filled = filled.view(3, width)
    for row in range(3):
        for document in range(int(documents[row].max()) + 1):
            places = (documents[row] == document).nonzero().flatten()
            answers = model.discriminator(filled[row, places][None]).logits[0]
            labels = (filled[row, places] != batch["token_ids"][row, places]).float()
            right += functional.binary_cross_entropy_with_logits(answers, labels, reduction="sum")
            judged += len(places)
    wrong = functional.cross_entropy(hidden, batch["targets"])
    assert judged == batch["num_targets"]
    expected = float((wrong + 50 * right / judged).detach())
    assert float(detection()(model, batch).loss.detach()) == pytest.approx(expected, rel=1e-5)
    other = float((wrong + 7 * right / judged).detach())
    assert float(detection(discriminator_weight=7)(model, batch).loss.detach()) == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("shapes", [((14,), (3,)), ((6, 4), (3,))], ids=["attention mask", "documents"])
def test_padding_never_counts(shapes):
    model, batch = pair().eval(), made(*shapes)
    padding = ~batch["is_judged"]
    assert padding.any()
    before = detection()(model, batch)
    changed = batch | {name: batch[name].masked_fill(padding, 33) for name in ("token_ids", "masked_ids")}
    after = detection()(model, changed)
    assert torch.equal(before.loss, after.loss)
    assert detection().tally(before.outputs, batch) == detection().tally(after.outputs, changed)


def test_the_discriminators_loss_reaches_the_generator_through_tied_tables_alone():
    model, batch = pair(position="learned"), made((14,), (5, 6), (3,))
    detection()(model, batch).outputs["discriminator_loss"].backward()
    tied = {id(parameter) for parameter in model.discriminator.embeddings.parameters()}
    reached = {name for name, p in model.generator.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {name for name, p in model.generator.named_parameters() if id(p) in tied}
    assert reached == {
        f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")
    }  # fmt: skip


@pytest.mark.parametrize("temperature", [0.0, 1e-3])
def test_a_perfect_generator_leaves_everything_original(temperature):
    objective = detection(temperature=temperature)
    model, batch = pair().eval(), made((14,), (5, 6), (3,), objective=objective)
    model.generator.lm_head.forward = lambda *_: 10.0 * functional.one_hot(batch["targets"], packed.VOCAB)
    outputs = objective(model, batch).outputs
    assert not outputs["is_replaced"].any()
    figures = objective.figures(objective.tally(outputs, batch))
    assert (figures["replaced"], figures["recall"], figures["generator_accuracy"]) == (0, 0, 1)


def test_a_uniform_generator_replaces_all_but_one_in_v_of_the_hidden():
    model = pair().eval()
    with torch.no_grad():
        model.generator.lm_head.norm.weight.zero_()
        model.generator.lm_head.norm.bias.zero_()
        model.generator.lm_head.bias.zero_()
    batch = made(*[(60,)] * 120)
    replaced = int(detection()(model, batch).outputs["is_replaced"].sum())
    expected = 0.15 * (1 - 1 / packed.VOCAB)
    num_tokens = 60 * 120
    sigma = (2 * 0.15 / num_tokens) ** 0.5  # words of two tokens come and go as one
    assert replaced / num_tokens == pytest.approx(expected, abs=3 * sigma)
    share = replaced / batch["num_minor_targets"]
    chance = 1 / packed.VOCAB
    assert share == pytest.approx(1 - chance, abs=3 * (chance / batch["num_minor_targets"]) ** 0.5)


def gradients(model, batches):
    model.zero_grad()
    step = accumulating_backward(detection())(model, batches)
    return float(step.loss), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_two_batches_weigh_as_one():
    """Though the share of hidden tokens differs: both means are those of the whole update."""
    rows = packed.random_rows((14,), (5, 6), (1,), (2,), (1, 1), (9,))
    objective, generators = detection(), packed.generators(6)
    whole = objective.batch(rows, generators)
    parts = [objective.batch(rows[slice(*cut)], packed.generators(6)[slice(*cut)]) for cut in ((0, 2), (2, 6))]
    shares = [part["num_minor_targets"] / part["num_targets"] for part in parts]
    assert abs(shares[0] - shares[1]) > 0.1
    model = pair().double().eval()
    loss, expected = gradients(model, [whole])
    found, others = gradients(model, with_minor_weight(parts))
    assert found == pytest.approx(loss, rel=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(others[name], gradient, atol=1e-6, rtol=0)
    careless, _ = gradients(model, parts)
    assert abs(careless - loss) > 1e-3


def test_batches_of_one_kind_of_target_stay_as_they_are():
    batches = [{"num_targets": 3}, {"num_targets": 5}]
    assert with_minor_weight(batches) is batches
    counted = [{"num_targets": 6, "num_minor_targets": 1}, {"num_targets": 6, "num_minor_targets": 2}]
    weightless = [*counted, {"num_targets": 9, "num_minor_targets": 9, "weightless": True}]
    assert [batch["minor_weight"] for batch in with_minor_weight(weightless)] == [4, 4, 4]
    none = [{"num_targets": 6, "num_minor_targets": 0}]
    assert with_minor_weight(none)[0]["minor_weight"] == 6


def test_a_row_without_words_is_only_judged():
    batch = made((0,))
    model = pair()
    loss = detection()(model, batch)
    loss.loss.backward()
    assert batch["num_minor_targets"] == 0
    assert float(loss.outputs["generator_loss"].detach()) == 0
    assert loss.loss.isfinite()
    assert model.discriminator.discriminator.dense.weight.grad.any()


def test_figures_against_the_plain_form():
    model, objective = pair().eval(), detection(rate=0.5)
    batches = [made((14,), (5, 6), (3,), objective=objective), made((9,), (8,), objective=objective, seed=1)]
    with torch.no_grad():  # so that about half of the tokens are taken for replaced
        middle = objective(model, batches[0]).outputs["discriminator_logits"].median()
        model.discriminator.discriminator.prediction.bias.sub_(middle)
    tallies, answers, labels, hits = {}, [], [], []
    for batch in batches:
        outputs = objective(model, batch).outputs
        for name, value in objective.tally(outputs, batch).items():
            tallies[name] = tallies.get(name, 0) + value
        answers.append((outputs["discriminator_logits"] > 0)[batch["is_judged"]])
        labels.append(outputs["is_replaced"][batch["is_judged"]])
        hits.append(outputs["generator_logits"].argmax(-1) == batch["targets"])
    said, true, hit = torch.cat(answers), torch.cat(labels), torch.cat(hits)
    figures = objective.figures(tallies)
    both = (said & true).sum().item()
    assert both
    assert figures["targets"] == len(said)
    assert figures["precision"] == pytest.approx(both / said.sum().item())
    assert figures["recall"] == pytest.approx(both / true.sum().item())
    assert figures["f1"] == pytest.approx(2 * both / (said.sum() + true.sum()).item())
    assert figures["accuracy"] == pytest.approx((said == true).float().mean().item())
    assert figures["replaced"] == pytest.approx(true.float().mean().item())
    share = true.float().mean()
    alone = torch.nn.functional.binary_cross_entropy(share.expand(len(true)), true.float()).item()
    assert figures["explained"] == pytest.approx(1 - figures["discriminator_loss"] / alone, rel=1e-5)
    assert figures["generator_accuracy"] == pytest.approx(hit.float().mean().item())
    assert figures["loss"] == pytest.approx(figures["generator_loss"] + 50 * figures["discriminator_loss"])


def test_it_learns_a_batch_by_heart():
    rows = packed.random_rows(*[(12,)] * 6)
    model, objective = pair(), detection()
    batch = objective.batch(rows, packed.generators(6))
    before = float(objective(model.eval(), batch).loss.detach())
    assert packed.overfitted(objective, rows, model, below=before / 10) < before / 10


def test_both_models_have_blocks():
    model = pair()
    assert blocks(model) == [*model.discriminator.layers, *model.generator.layers]


def test_nothing_replaced_explains_nothing():
    tallies = dict.fromkeys(("hidden", "generator_loss", "generator_correct", "replaced", "found", "both"), 0)
    figures = detection().figures(tallies | {"targets": 5, "discriminator_loss": 1.0})
    assert (figures["explained"], figures["f1"]) == (0, 0)


def test_an_evaluation_repeats_and_is_scored_by_what_is_explained():
    mix = Mix({"rtd": rtd.Config(rate=0.4)}, packed.SPECIAL, RowFacts(), seed=3)
    rows = packed.Rows(packed.random_rows(*[(9, 4 + index % 5) for index in range(12)]))
    aside = HeldOutRows(rows, mix, limit=100, device=torch.device("cpu"), precision="float32")
    model = pair().train()
    first, second = aside.evaluate(model), aside.evaluate(model)
    assert first.record == second.record
    assert model.training
    assert model.generator.training
    figures = first.record["objectives"]["rtd"]
    assert first.score == figures["explained"]
    assert first.record["score_is"] == "explained share of what is replaced"
    assert set(columns(mix)) <= set(first.table[0])
    assert "perplexity" not in first.table[0]
    batch = mix.batch(rows, list(range(12)), name="rtd", epoch=0, purpose="evaluation ")
    assert figures["loss"] == pytest.approx(float(mix(model.eval(), batch).loss.detach()), rel=1e-5)


def test_it_is_never_mixed():
    assert trains_a_pair({"rtd": rtd.Config(), "mlm": mlm.Config(weight=0)})
    assert not trains_a_pair({"rtd": rtd.Config(weight=0), "mlm": mlm.Config()})
    with pytest.raises(UsageError, match="`rtd` trains a pair of models and cannot be mixed with mlm"):
        trains_a_pair({"rtd": rtd.Config(), "mlm": mlm.Config()})
