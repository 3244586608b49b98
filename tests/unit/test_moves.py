"""Metropolis-Hastings: acceptance for true conditionals, the exact target, what is held, and lengths."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.stats import chisquare

from gibbs_models import END, FIRST, MASK, PAD, START, TWO, OfJoint, Remembered, markov_chain, model_of
from nlpx.decode.conditionals import conditionals_of
from nlpx.decode.gibbs import moves
from nlpx.decode.gibbs.draw import Draw
from nlpx.decode.gibbs.moves import Mover, MovingChain, PseudoScore, Token, accept_probability, propose
from nlpx.decode.pseudo_likelihood import PseudoLikelihood


def text_of(*token_ids: int, kept: tuple[int, ...] = ()) -> moves.Text:
    return tuple(Token(token_id, place, place in kept) for place, token_id in enumerate(token_ids))


def mover(conditionals, score, *, slots=16, banned=None):
    return Mover(conditionals, Draw(banned), score, MASK, PAD, [START], [END], slots)


@pytest.mark.parametrize("joint", [TWO, markov_chain()], ids=["two tokens", "four tokens"])
def test_replacing_by_true_conditionals_is_always_accepted(joint):
    conditionals, cells = OfJoint(joint), [range(2)] * joint.dim()
    for state, place, new in itertools.product(itertools.product(*cells), range(joint.dim()), range(2)):
        row = conditionals.of_row(tuple(FIRST + value for value in state), place + 1).double().log_softmax(dim=0)
        changed = (*state[:place], new, *state[place + 1 :])
        probability = accept_probability(
            float(joint[changed].log() - joint[state].log()),
            log_forward=float(row[FIRST + new]),
            log_backward=float(row[FIRST + state[place]]),
        )
        assert probability == pytest.approx(1, abs=1e-6)


def test_a_run_of_replacements_by_true_conditionals_accepts_all(monkeypatch):
    joint = markov_chain()
    monkeypatch.setattr(moves, "MOVE_PROBABILITIES", (("replace", 1.0),))

    def score(_chain, text):
        return float(joint[tuple(token.token_id - FIRST for token in text)].log())

    chains = [MovingChain(n, text_of(*[FIRST] * 4), 4, 4, 8, seed=2) for n in range(500)]
    for _ in mover(Remembered(OfJoint(joint)), score, slots=500).run(chains, 60, lambda step: 1.0):
        pass
    assert [chain.num_changed for chain in chains] == [60] * len(chains)
    counts = torch.zeros_like(joint)
    for chain in chains:
        counts[tuple(token.token_id - FIRST for token in chain.text)] += 1
    sigma = (joint * (1 - joint) / len(chains)).sqrt()
    assert (counts / len(chains) - joint).abs().le(3 * sigma).all()


class OddModel:
    """Conditionals of no joint: tokens lean on the length of the text and on the place."""

    def __call__(self, token_ids, attention_mask, places):
        lengths = attention_mask.sum(dim=1, keepdim=True)
        logits = torch.full((*places.shape, FIRST + 2), -torch.inf)
        logits[..., FIRST] = 0.0
        before = token_ids.gather(1, (places - 1).clamp(min=0))
        logits[..., FIRST + 1] = 0.3 * lengths - 0.5 * places + 0.8 * (before == FIRST + 1)
        return logits


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_the_target_is_the_score_over_all_lengths(temperature):
    """Texts of 1 to 3 of two tokens: the share of each is exp(score / t), whatever the proposals are."""
    wanted = {
        text: -0.7 * len(text) + 0.9 * sum(a != b for a, b in itertools.pairwise(text)) + 0.4 * text[0]
        for length in (1, 2, 3)
        for text in itertools.product((FIRST, FIRST + 1), repeat=length)
    }
    total = sum(math.exp(value / temperature) for value in wanted.values())
    target = {text: math.exp(value / temperature) / total for text, value in wanted.items()}

    def score(_chain, text):
        return wanted[tuple(token.token_id for token in text)]

    number = 800
    chains = [MovingChain(n, text_of(FIRST, FIRST), 1, 3, 8, seed=6) for n in range(number)]
    for _ in mover(OddModel(), score, slots=number).run(chains, 60, lambda step: temperature):
        pass
    found = [tuple(token.token_id for token in chain.text) for chain in chains]
    counts = [found.count(text) for text in target]
    assert sum(counts) == number
    # All fourteen are judged at once: of so many, one beyond three sigma would be no surprise.
    assert chisquare(counts, [share * number for share in target.values()]).pvalue > 0.001


def test_what_is_held_stays_together():
    text = text_of(*range(10, 16), kept=(2, 3, 4))
    gaps = [propose(text, "insert", n / 100, shortest=1, longest=9).place for n in range(100)]
    assert set(gaps) == {0, 1, 2, 5, 6}  # neither between 2, 3 and 4
    places = {propose(text, "replace", n / 100, shortest=1, longest=9).place for n in range(100)}
    assert places == {0, 1, 5}
    at_the_end = text_of(*range(10, 13), kept=(1, 2))
    assert {propose(at_the_end, "insert", n / 10, shortest=1, longest=9).place for n in range(10)} == {0, 1}
    between = text_of(*range(10, 13), kept=(0, 2))  # without the one in the middle nothing could come back
    assert propose(between, "delete", 0.5, shortest=1, longest=9) is None


@pytest.mark.parametrize(("move", "shortest", "longest"), [("insert", 1, 3), ("delete", 3, 9)])
def test_bounds_are_kept(move, shortest, longest):
    assert propose(text_of(10, 11, 12), move, 0.4, shortest=shortest, longest=longest) is None


@pytest.mark.parametrize("place", range(4))
def test_there_and_back_are_proposed_alike(place):
    """What an insertion counts as its way back is what the deletion counts as its way there."""
    text = text_of(10, 11, 12, 13, kept=(1,))
    there = propose(text, "insert", (place + 0.5) / 4, shortest=1, longest=9)
    changed = (*text[: there.place], Token(20), *text[there.place :])
    free = [i for i, token in enumerate(changed) if not token.is_kept]
    back = propose(changed, "delete", (free.index(there.place) + 0.5) / len(free), shortest=1, longest=9)
    assert back.place == there.place
    assert (back.log_forward, back.log_backward) == (there.log_backward, there.log_forward)


def test_acceptance():
    assert accept_probability(-1.0, log_forward=0, log_backward=0) == pytest.approx(math.exp(-1))
    assert accept_probability(-1.0, log_forward=-3, log_backward=-1) == 1
    assert accept_probability(-1.0, log_forward=0, log_backward=0, temperature=2) == pytest.approx(math.exp(-0.5))
    assert accept_probability(9.0, log_forward=0, log_backward=-math.inf) == 0
    assert accept_probability(-1e-9, log_forward=-9, log_backward=0, temperature=0) == 0
    assert accept_probability(0.0, log_forward=0, log_backward=-9, temperature=0) == 1


def test_the_score_is_the_pseudo_log_likelihood_with_a_factor_for_the_length():
    model = model_of()
    likelihood = PseudoLikelihood(conditionals_of(model_of(), device=torch.device("cpu")), MASK, PAD)
    score = PseudoScore(likelihood, start=[START], end=[END])
    chain = MovingChain(0, text_of(9, 8, 7, 6), 1, 8, 16)
    for body in ((9, 8, 7, 6), (9, 8), (5, 9, 8, 7, 6, 30)):
        total = 0.0
        for place in range(len(body)):
            row = [START, *body[:place], MASK, *body[place + 1 :], END]
            with torch.no_grad():
                total += float(model(torch.tensor([row])).logits[0, place + 1].log_softmax(dim=-1)[body[place]])
        assert score(chain, text_of(*body)) == pytest.approx(total * (4 / len(body)) ** 0.8, rel=1e-4)


def test_gaps_are_filled_before_anything_moves():
    likelihood = PseudoLikelihood(conditionals_of(model_of(), device=torch.device("cpu")), MASK, PAD)
    banned = torch.zeros(40, dtype=torch.bool)
    banned[:10] = True
    score = PseudoScore(likelihood, start=[START], end=[END])
    chains = [MovingChain(n, text_of(20, MASK, MASK, 30, MASK), 2, 8, 16) for n in range(3)]
    for chain in mover(likelihood.conditionals, score, banned=banned).run(chains, 25, lambda step: 1.0):
        token_ids = [token.token_id for token in chain.text]
        assert token_ids.count(MASK) == max(0, 3 - chain.num_steps)
        assert 2 <= len(token_ids) <= 8
        assert min(t for t in token_ids if t != MASK) >= 10
        assert chain.num_steps > 3 or (chain.num_changed == 0 and len(token_ids) == 5)
    assert any(chain.num_changed for chain in chains)
