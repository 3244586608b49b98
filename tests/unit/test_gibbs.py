"""Gibbs sampling where the answer is known, and what no step may change."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from gibbs_models import (
    END,
    FIRST,
    MASK,
    PAD,
    START,
    TWO,
    OfJoint,
    Remembered,
    frequencies,
    markov_chain,
    model_of,
    run,
)
from nlpx.decode.conditionals import conditionals_of
from nlpx.decode.gibbs.chains import Chain, Sampler
from nlpx.decode.gibbs.draw import Draw
from nlpx.decode.gibbs.scan import Scan

CPU = torch.device("cpu")
NUM_CHAINS = 2500


@pytest.mark.parametrize(("joint", "num_steps"), [(TWO, 12), (markov_chain(), 30)], ids=["two tokens", "four tokens"])
def test_frequencies_are_those_of_the_joint(joint, num_steps):
    found = frequencies(run(joint, num_chains=NUM_CHAINS, num_steps=num_steps), joint)
    sigma = (joint * (1 - joint) / NUM_CHAINS).sqrt()
    assert (found - joint).abs().le(3 * sigma).all(), (found - joint) / sigma
    assert chisquare((found * NUM_CHAINS).flatten(), (joint * NUM_CHAINS).flatten()).pvalue > 0.01


def test_one_long_chain_visits_states_as_often_as_the_joint_says():
    joint, steps = TWO, 6000
    chain = Chain(0, [START, FIRST, FIRST, END], (1, 2), 4, seed=1)
    sampler = Sampler(Remembered(OfJoint(joint)), Draw(), MASK, PAD, slots=1)
    counts = torch.zeros_like(joint)
    for step, state in enumerate(sampler.run([chain], steps, lambda step: 1.0)):
        if step % 2:  # after whole sweeps
            counts[state.token_ids[1] - FIRST, state.token_ids[2] - FIRST] += 1
    share = counts / counts.sum()
    # A sweep keeps 0.6^2 of what the sweep before said, so sums vary (1 + 0.36) / (1 - 0.36) times as much.
    sigma = (joint * (1 - joint) / counts.sum() * 1.36 / 0.64).sqrt()
    assert (share - joint).abs().le(3 * sigma).all()


def test_blocks_are_drawn_as_if_independent():
    """Two far-apart positions of four at once: each by its conditional given the two others, not by their joint."""
    joint = markov_chain()
    found = frequencies(run(joint, num_chains=NUM_CHAINS, num_steps=1, block=2), joint)
    given = {1: joint[:, 0, :, 0], 0: joint[0, :, 0, :]}  # positions 0 and 2, or 1 and 3, the others being 0
    expected = torch.zeros_like(joint)
    for first, pair in given.items():
        pair = pair / pair.sum()
        independent = pair.sum(dim=1)[:, None] * pair.sum(dim=0)
        for a in (0, 1):
            for b in (0, 1):
                expected[(a, 0, b, 0) if first else (0, a, 0, b)] += independent[a, b] / 2
    assert (found - expected).abs().le(3 * (expected * (1 - expected) / NUM_CHAINS).sqrt()).all()


@pytest.mark.parametrize("temperature", [0.0, 1e-6])
def test_temperature_to_0_is_iterated_argmax(temperature):
    text = [2, 7, 4, 4, 9, 30, 3]
    chain = Chain(4, list(text), range(1, 6), 7, seed=3)
    conditionals = conditionals_of(model_of(), device=CPU)
    for _ in Sampler(conditionals, Draw(), 4, 0).run([chain], 15, lambda step: temperature):
        pass
    model, scan = model_of(), Scan(range(1, 6), Chain(4, [], (), 0, seed=3).random)
    for _ in range(15):
        (place,) = scan.next()
        if temperature:
            scan.random.random(1)  # what the chain drew with
        hidden = torch.tensor([[4 if i == place else token_id for i, token_id in enumerate(text)]])
        with torch.no_grad():
            text[place] = int(model(hidden).logits[0, place].argmax())
        if not temperature:
            scan.random.random(1)
    assert chain.token_ids == text


def test_what_never_changes_and_what_always_goes():
    lengths = (3, 8, 5)
    chains = [
        Chain(n, [2, *[4] * length, 3], [p for p in range(1, length + 1) if p != 2], 16, seed=n)
        for n, length in enumerate(lengths)
    ]
    banned = torch.zeros(40, dtype=torch.bool)
    banned[:10] = True
    sampler = Sampler(conditionals_of(model_of(), device=CPU), Draw(banned), 4, 0)
    for chain in sampler.run(chains, 20, lambda step: 2.0):
        body = chain.token_ids[1:-1]
        assert len(body) == lengths[chain.number]
        assert (chain.token_ids[0], chain.token_ids[-1], body[1]) == (2, 3, 4)
        drawn = [token_id for place, token_id in enumerate(body) if place != 1]
        if chain.num_steps >= len(drawn):
            assert min(drawn) >= 10
    assert [chain.num_visits for chain in chains] == [20] * 3


class Asked:
    """Conditionals that keep what they were asked."""

    def __init__(self) -> None:
        self.calls = []

    def __call__(self, token_ids, attention_mask, places):
        self.calls.append((token_ids.clone(), places.clone()))
        return torch.zeros(*places.shape, 40)


@pytest.mark.parametrize("block", [1, 3])
def test_what_is_drawn_is_hidden_from_the_model_and_nothing_else_is(block):
    """Else a token would be drawn given itself, and the chain would stay where it is."""
    chains = [Chain(number, [START, *range(20, 27), END], range(1, 8), 9, seed=2, block=block) for number in range(2)]
    asked, texts = Asked(), [list(chain.token_ids) for chain in chains]
    for chain in Sampler(asked, Draw(), MASK, PAD, slots=2, block=block).run(chains, 9, lambda step: 1.0):
        token_ids, places = asked.calls[-1]
        hidden = set(places[chain.number].tolist())
        expected = [MASK if place in hidden else token for place, token in enumerate(texts[chain.number])]
        assert token_ids[chain.number].tolist() == expected
        texts[chain.number] = list(chain.token_ids)


@pytest.mark.parametrize(("num_free", "block"), [(1, 1), (7, 1), (7, 3), (8, 4), (5, 9), (30, 7)])
def test_a_sweep_visits_every_position_once_and_blocks_are_far_apart(num_free, block):
    free = [3 * place + 1 for place in range(num_free)]
    scan = Scan(free, np.random.default_rng(0), block=block)
    assert scan.num_steps == math.ceil(num_free / block)
    orders = []
    for _ in range(3):
        steps = [scan.next() for _ in range(scan.num_steps)]
        assert sorted(place for step in steps for place in step) == free
        assert all(1 <= len(step) <= block for step in steps)
        apart = [b - a for step in steps for a, b in pairwise(step)]
        assert all(gap == 3 * scan.num_steps for gap in apart)
        orders.append(steps)
    assert scan.num_steps < 3 or orders[0] != orders[1] or orders[1] != orders[2]


def test_bfloat16_does_not_shift_the_distribution():
    """Two tokens of a small model: the stationary distribution of float32 sweeps, by enumeration, against samples."""
    size, vocab = 5, 12
    tokens = list(range(vocab - size, vocab))
    banned = torch.ones(vocab, dtype=torch.bool)
    banned[tokens] = False
    choices = {"vocab_size": vocab, "position": "rotary", "type_vocab_size": 0}
    exact = conditionals_of(model_of(**choices), device=CPU)

    def kernel(place: int) -> torch.Tensor:
        other = 3 - place
        rows = torch.full((size, 4), MASK)
        rows[:, 0], rows[:, 3], rows[:, other] = START, END, torch.tensor(tokens)
        logits = exact(rows, torch.ones(size, 4, dtype=torch.bool), torch.full((size, 1), place))[:, 0, tokens]
        given = logits.double().softmax(dim=-1)  # of the other token
        found = torch.zeros(size, size, size, size, dtype=torch.float64)
        for a in range(size):
            for b in range(size):
                found[a, b, :, b] = given[b] if place == 1 else 0
                if place == 2:
                    found[a, b, a, :] = given[a]
        return found.reshape(size * size, size * size)

    first, second = kernel(1), kernel(2)
    sweep = (first @ second + second @ first) / 2
    stationary = torch.linalg.matrix_power(sweep, 200)[0]
    assert stationary.max() / stationary.min() > 5  # not flat: there is something to get wrong

    number = 6000
    conditionals = conditionals_of(model_of(**choices), device=CPU, precision="bfloat16")
    chains = [Chain(n, [START, MASK, MASK, END], (1, 2), 4, seed=11) for n in range(number)]
    for _ in Sampler(conditionals, Draw(banned), MASK, PAD, slots=number).run(chains, 12, lambda step: 1.0):
        pass
    counts = torch.zeros(size, size)
    for chain in chains:
        counts[chain.token_ids[1] - tokens[0], chain.token_ids[2] - tokens[0]] += 1
    assert chisquare(counts.flatten(), stationary * number).pvalue > 0.01
