"""Sentence order: where texts are split, what is swapped, and the loss against the plain form."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from nlpx.objectives import RowFacts, sop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import packed

END, MORE, QUOTE = 50, 51, 52
FACTS = RowFacts(sentence_ends=frozenset([END, MORE]), closing_marks=frozenset([QUOTE]))


def order(**limits):
    facts = RowFacts(limits.get("max_length"), FACTS.sentence_ends, FACTS.closing_marks)
    return sop.Objective(sop.Config(), packed.SPECIAL, facts)


def network(**choices):
    return packed.model(heads=("lm", "sentence"), pooler="tanh", **choices)


def test_borders_are_after_the_end_and_what_closes_it():
    assert order().borders([10, END, 11, END, MORE, QUOTE, 12, 13, END]) == [2, 6]
    assert order().borders([10, 11, END]) == []
    assert order().borders([10, QUOTE, 11]) == []


def test_both_orders_are_equally_likely_and_nothing_is_lost():
    row, seen = packed.row([10, END, 11, 12, END, 13], [20, END, 21]), Counter()
    for epoch in range(600):
        pair = order().pair(row, packed.generators(1, epoch=epoch)[0])
        tokens, split = pair.token_ids.tolist(), pair.segment_ids.tolist().index(1)
        first, second = tokens[1 : split - 1], tokens[split:-1]
        assert tokens == [packed.CLS, *first, packed.SEP, *second, packed.SEP]
        assert (second + first if pair.swapped else first + second) == [10, END, 11, 12, END, 13]
        seen[len(second if pair.swapped else first), pair.swapped] += 1
    assert set(seen) == {(2, False), (2, True), (5, False), (5, True)}
    assert all(100 < count < 200 for count in seen.values())


def test_a_single_sentence_is_no_target():
    made = order()
    batch = made.batch([packed.row([10, 11, END]), packed.row([10, END, 11, END])], packed.generators(2))
    assert (batch["num_targets"], batch["split_rows"].tolist()) == (1, [1])
    none = made.batch([packed.row([10, 11, END])], packed.generators(1))
    model = network()
    loss = made(model, none).loss
    loss.backward()
    assert (float(loss.detach()), none["num_targets"]) == (0.0, 0)


def test_the_second_separator_finds_room():
    row = packed.row([10, 11, 12, END, 13, END])
    pair = order(max_length=8).pair(row, packed.generators(1)[0])
    assert len(pair.token_ids) == 8
    assert pair.token_ids.tolist().count(packed.SEP) == 2
    assert 13 in pair.token_ids  # the longer part gave way


def test_equals_the_plain_form():
    rows = [packed.row([10 + index, END, 20, 21, END, 30]) for index in range(5)] + [packed.row([7, END, 8])]
    made, model = order(), network().eval()
    batch = made.batch(rows, packed.generators(6))
    total = 0.0
    for index, target in zip(batch["split_rows"].tolist(), batch["targets"], strict=True):
        real = int(batch["attention_mask"][index].sum())
        tokens, segments = batch["token_ids"][index, :real], batch["segment_ids"][index, :real]
        total += functional.cross_entropy(model(tokens[None], segments[None]).heads["sentence"], target[None])
    assert torch.allclose(made(model, batch).loss, total / 6, atol=1e-6)


def test_fresh_and_overfitted():
    random = np.random.default_rng(0)
    rows = [packed.row([*random.integers(5, 50, 6), END, *random.integers(5, 50, 5), END]) for _ in range(8)]
    assert float(order()(network(), order().batch(rows, packed.generators(8))).loss.detach()) == pytest.approx(
        math.log(2), abs=0.1
    )
    assert packed.overfitted(order(), rows, network(), below=0.1) < 0.1


def test_accuracy_and_repetition():
    rows, made = [packed.row([10, END, 11, END, 12]) for _ in range(6)], order()
    first, second = (made.batch(rows, packed.generators(6)) for _ in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items() if isinstance(value, torch.Tensor))
    right = functional.one_hot(first["targets"], 2).float()
    assert made.num_correct({"logits": right}, first) == 6
    assert made.num_correct({"logits": 1 - right}, first) == 0
