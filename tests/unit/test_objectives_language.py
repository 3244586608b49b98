"""mlm, lm and unilm against the plain form: every document alone, masks by hand, all logits."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from nlpx.objectives import RowFacts, lm, mlm, unilm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import packed

MODULES = {"mlm": mlm, "lm": lm, "unilm": unilm}
SEVERAL = ((9, 4), (2, 6, 1), (14,))
SINGLE = ((9,), (5,), (14,))


def objective(name, **settings):
    module = MODULES[name]
    return module.Objective(module.Config(**settings), packed.SPECIAL)


def by_hand(name, segments, length):
    """Who sees whom in one document, cell by cell."""
    seen = torch.zeros(length, length, dtype=torch.bool)
    for i in range(length):
        for j in range(length):
            if name == "mlm":
                seen[i, j] = True
            elif name == "lm":
                seen[i, j] = j <= i
            else:
                seen[i, j] = segments[j] == 0 if segments[i] == 0 else (segments[j] == 0 or j <= i)
    return seen


def document_spans(batch):
    """(row, start, end) of every document."""
    ids = batch["token_ids"]
    for index, tokens in enumerate(ids.tolist()):
        starts = [place for place, token in enumerate(tokens) if token == packed.CLS]
        real = len([token for token in tokens if token != packed.PAD])
        yield from ((index, start, end) for start, end in zip(starts, [*starts[1:], real], strict=True))


def plain_loss(name, network, batch):
    """Each document through the model by itself; cross entropy over all its positions, most of them ignored."""
    labels = torch.full_like(batch["token_ids"], -100)
    labels.view(-1)[batch["lm_positions"]] = batch["targets"]
    total = 0.0
    for index, start, end in document_spans(batch):
        tokens = batch["token_ids"][index, start:end]
        segments = batch["segment_ids"][index, start:end] if "segment_ids" in batch else torch.zeros_like(tokens)
        mask = by_hand(name, segments.tolist(), end - start)
        logits = network(tokens[None], segments[None], mask=mask[None]).logits[0]
        total += functional.cross_entropy(logits, labels[index, start:end], ignore_index=-100, reduction="sum")
    return total / batch["num_targets"]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("shapes", [SEVERAL, SINGLE])
@pytest.mark.parametrize("position", ["rotary", "learned", "relative", "none"])
def test_equals_each_document_alone(name, shapes, position):
    rows, network = packed.random_rows(*shapes), packed.model(position=position).eval()
    made = objective(name)
    batch = made.batch(rows, packed.generators(len(rows)))
    assert ("document_ids" in batch) == (shapes is SEVERAL)
    loss = made(network, batch)
    expected = plain_loss(name, network, batch)
    assert torch.allclose(loss.loss, expected, atol=1e-5)
    assert loss.outputs["logits"].shape == (batch["num_targets"], packed.VOCAB)
    gradients = [torch.autograd.grad(one, network.layers[0].feed_forward.input.weight) for one in (loss.loss, expected)]
    assert torch.allclose(gradients[0][0], gradients[1][0], atol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_the_loss_of_a_fresh_model_is_that_of_guessing(name):
    rows = packed.random_rows(*[(20, 9)] * 8)
    batch = objective(name).batch(rows, packed.generators(8))
    loss = float(objective(name)(packed.model(), batch).loss.detach())
    assert loss == pytest.approx(math.log(packed.VOCAB), abs=0.15)


@pytest.mark.parametrize("name", MODULES)
def test_eight_rows_are_learned_by_heart(name):
    # Each row starts with a token of its own, which nothing can tell: at best ln 8 nats at one of 30 places.
    rows = [packed.row([5 + index, *packed.random_rows((28,), seed=index)[0].token_ids[1:-1]]) for index in range(8)]
    assert packed.overfitted(objective(name), rows, packed.model(), below=0.1) < 0.1


@pytest.mark.parametrize("name", MODULES)
def test_padding_changes_no_loss(name):
    short, long = packed.random_rows((6, 3), (20, 11))
    network, made = packed.model().eval(), objective(name)
    alone = made(network, made.batch([short], packed.generators(1)))
    both = made.batch([short, long], packed.generators(2))
    count = len(alone.outputs["logits"])
    together = made(network, both).outputs["logits"][:count]
    assert torch.allclose(together, alone.outputs["logits"], atol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_the_same_generators_make_the_same_batch(name):
    rows, made = packed.random_rows(*[(20, 9)] * 4), objective(name)
    first, second, other = (made.batch(rows, packed.generators(4, epoch=epoch)) for epoch in (0, 0, 1))
    same = {key: value for key, value in first.items() if isinstance(value, torch.Tensor)}
    assert all(torch.equal(value, second[key]) for key, value in same.items())
    changes = any(value.shape != other[key].shape or not torch.equal(value, other[key]) for key, value in same.items())
    assert changes == (name != "lm")  # nothing is drawn for a plain language model


@pytest.mark.parametrize("name", ["lm", "unilm"])
def test_what_is_to_be_said_is_not_seen_before(name):
    rows, network, made = packed.random_rows((12, 8)), packed.model().eval(), objective(name)
    batch = made.batch(rows, packed.generators(1))
    before = made(network, batch).outputs["logits"]
    places = batch["lm_positions"]
    for number, place in enumerate(places.tolist()):
        changed = {**batch, "token_ids": batch["token_ids"].clone()}
        token = changed["token_ids"][0, place + 1]
        changed["token_ids"][0, place + 1] = 5 + (int(token) + 1) % 50
        after = made(network, changed).outputs["logits"]
        differs = (after - before).abs().amax(dim=1) > 1e-6
        document = batch["document_ids"][0]
        later = (places > place) & (document[places] == document[place])
        assert not differs[~later].any(), number
        assert differs[later].all(), number


def test_hidden_words_are_not_seen_at_all():
    """Other words behind the same masks: the same predictions."""
    made = objective("mlm", mask_fraction=1.0, random_fraction=0.0)
    rows, network = packed.random_rows((12, 8)), packed.model().eval()
    batch = made.batch(rows, packed.generators(1))
    other = packed.row(*[[int(t) for t in part] for part in _documents(rows[0])])
    other.token_ids[batch["lm_positions"].numpy()] = 7
    assert torch.equal(made.batch([other], packed.generators(1))["token_ids"], batch["token_ids"])
    assert (batch["token_ids"][0, batch["lm_positions"]] == packed.MASK).all()
    assert made(network, batch).outputs["logits"].shape == (len(batch["targets"]), packed.VOCAB)


def _documents(row):
    for number in range(row.document_ids.max() + 1):
        yield row.token_ids[row.document_ids == number][1:-1]


def test_lm_says_everything_but_the_first_token():
    batch = objective("lm").batch([packed.row([10, 11], [12])], packed.generators(1))
    places = zip(batch["lm_positions"].tolist(), batch["targets"].tolist(), strict=True)
    said = [(int(batch["token_ids"].flatten()[place]), target) for place, target in places]
    cls, sep = packed.CLS, packed.SEP
    assert said == [(cls, 10), (10, 11), (11, sep), (cls, 12), (12, sep)]


def test_unilm_cuts_evenly_and_inserts_one_separator():
    made, counts = objective("unilm"), dict.fromkeys(range(1, 5), 0)
    for epoch in range(800):
        part = made.split(packed.row([10, 11, 12, 13, 14]), packed.generators(1, epoch=epoch)[0])
        source = part.segment_ids.tolist().count(0) - 2
        expected = [packed.CLS, *range(10, 10 + source), packed.SEP, *range(10 + source, 15), packed.SEP]
        assert part.token_ids.tolist() == expected
        assert part.segment_ids.tolist() == [0] * (source + 2) + [1] * (6 - source)
        counts[source] += 1
    assert all(150 < count < 250 for count in counts.values())


def test_unilm_says_short_pieces_from_nothing():
    part = objective("unilm").split(packed.row([10, 11], [12, 13, 14]), packed.generators(1)[0])
    assert part.token_ids[:4].tolist() == [packed.CLS, 10, 11, packed.SEP]
    assert part.segment_ids[:4].tolist() == [0, 1, 1, 1]
    assert part.document_ids.tolist() == [0] * 4 + [1] * 6


def test_unilm_stays_within_the_length():
    made = unilm.Objective(unilm.Config(), packed.SPECIAL, RowFacts(max_length=13))
    row = packed.row([10, 11, 12, 13], [14, 15, 16, 17])  # 12 tokens, and two to insert
    part = made.split(row, packed.generators(1)[0])
    assert len(part.token_ids) == 13
    first = part.token_ids[part.document_ids == 0].tolist()
    last = part.token_ids[part.document_ids == 1].tolist()
    assert first.count(packed.SEP) == 2
    assert first[-1] == packed.SEP
    assert last.count(packed.SEP) == 1
    assert last[-1] == 17


def test_accuracy_counts_first_choices():
    made, network = objective("lm"), packed.model().eval()
    batch = made.batch(packed.random_rows((9, 4)), packed.generators(1))
    outputs = made(network, batch).outputs
    best = outputs["logits"].argmax(dim=1).numpy()
    assert made.num_correct(outputs, batch) == int((best == batch["targets"].numpy()).sum())
    assert made.num_correct({"logits": functional.one_hot(batch["targets"], packed.VOCAB)}, batch) == len(best)
    assert np.isfinite(outputs["logits"].detach().numpy()).all()
