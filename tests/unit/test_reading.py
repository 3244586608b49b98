"""One answer from several passages: votes, dropped passages, extraction, beams; on given probabilities and a model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from nlpx.decode.generation.decoders import PrefixDecoder
from nlpx.decode.generation.reading import NO_ANSWER, Answer, Passages, ReadingSettings, read, vote
from nlpx.errors import UsageError
from writing import model

END, A, B, C, D = 0, 1, 2, 3, 4


class Table:
    """A decoder whose probabilities of the next token are given for each passage, by what was written before."""

    start_ids: Sequence[int] = ()
    max_length = None
    reads_source = False
    is_even = False

    def __init__(self, tables: dict[int, dict[tuple[int, ...], dict[int, float]]], size: int = 5) -> None:
        self.tables, self.size = tables, size  # a passage is called by its first token

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[torch.Tensor, Any]:
        state = Rows([(source[0], ()) for source in sources])
        return self._logits(state), state

    def step(self, token_ids: torch.Tensor, state: Any) -> torch.Tensor:
        pairs = zip(state.rows, token_ids.tolist(), strict=True)
        state.rows = [(name, (*before, token)) for (name, before), token in pairs]
        return self._logits(state)

    def _logits(self, state: Any) -> torch.Tensor:
        found = torch.full((len(state.rows), self.size), 1e-9, dtype=torch.float64)
        for row, (name, before) in enumerate(state.rows):
            for token, probability in self.tables[name].get(before, {END: 1.0}).items():
                found[row, token] = probability
        return found.log()


class Rows:
    def __init__(self, rows: list[tuple[int, tuple[int, ...]]]) -> None:
        self.rows = rows

    def select(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in rows]


def answer(tables: Any, names: Sequence[int], contents: Any = None, **options: Any) -> Answer:
    contents = [[A, B, C, D]] * len(names) if contents is None else contents
    settings = ReadingSettings(**({"is_extractive": False} | options))
    return read(Table(tables), [Passages([[name] for name in names], contents)], settings, end_id=END)[0]


def test_the_vote_of_one_passage_and_of_several():
    single = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    assert torch.allclose(vote(single), single[0] ** 2 / (single[0] + 1))
    rising = vote(torch.linspace(0, 1, 50)[None])
    assert (rising.diff() > 0).all()
    certain = torch.ones(4, 1)
    assert float(vote(certain)) == pytest.approx(4 / 5)  # P / (P + 1)


def test_the_same_passages_again_leave_the_first_choice():
    generator = torch.Generator().manual_seed(1)
    once = torch.rand(1, 40, generator=generator).softmax(1)
    for times in (2, 3, 7):
        assert vote(once.repeat(times, 1)).argmax() == vote(once).argmax()


def test_passages_that_answer_nothing_are_dropped():
    tables = {10: {(): {A: 0.9, END: 0.1}, (A,): {B: 0.8, END: 0.2}}, 11: {(): {END: 0.6, C: 0.4}}}
    alone, beside = answer(tables, [10]), answer(tables, [11, 10, 11])
    assert (alone.token_ids, alone.kept) == ([A, B], [0])
    assert (beside.token_ids, beside.kept, beside.score) == ([A, B], [1], alone.score)
    assert alone.score == pytest.approx(sum(math.log(p * p / (p + 1)) for p in (0.9, 0.8, 1.0)), rel=1e-6)


def test_nothing_answers():
    tables = {11: {(): {END: 0.6, C: 0.4}}}
    assert answer(tables, [11, 11]) == NO_ANSWER
    assert answer(tables, []) == NO_ANSWER
    both = [Passages([[11]], [[C]]), Passages([], [])]
    assert read(Table(tables), both, ReadingSettings(), end_id=END) == [NO_ANSWER, NO_ANSWER]


def test_the_order_of_passages_does_not_count():
    tables = {
        10: {(): {A: 0.6, B: 0.4}, (B,): {C: 0.7, END: 0.3}},
        11: {(): {B: 0.7, A: 0.3}, (B,): {C: 0.6, D: 0.4}},
        12: {(): {D: 0.6, END: 0.4}, (B,): {C: 0.5, D: 0.5}},
    }
    found = [answer(tables, list(names)) for names in itertools.permutations((10, 11, 12))]
    assert {tuple(one.token_ids) for one in found} == {(B, C)}
    assert all(one.score == pytest.approx(found[0].score) for one in found)


def test_an_extractive_answer_goes_on_within_one_passage():
    """B is likelier after A, but nowhere stands A B; C after A stands in the second passage."""
    tables = {10: {(): {A: 0.9, END: 0.1}, (A,): {B: 0.6, C: 0.4}, (A, B): {END: 1.0}, (A, C): {END: 1.0}}}
    tables[11] = tables[10]
    contents = [[B, A], [D, A, C]]
    assert answer(tables, [10, 11], contents).token_ids == [A, B]
    found = answer(tables, [10, 11], contents, is_extractive=True)
    assert (found.token_ids, found.place) == ([A, C], (1, 1))


def test_what_stands_only_in_a_dropped_passage_is_no_answer():
    tables = {10: {(): {A: 0.9, END: 0.1}, (A,): {B: 0.9, END: 0.1}}, 11: {(): {END: 1.0}}}
    found = answer(tables, [10, 11], [[A, C], [A, B]], is_extractive=True)
    assert (found.token_ids, found.place) == ([A], (0, 0))


def _beams() -> Any:
    """Greedy begins with A; the likelier whole is B C."""
    first, second = {A: 0.5, B: 0.4, C: 0.1}, {B: 0.5, C: 0.4, D: 0.1}
    return {10: {(): first, (A,): second, (A, B): {END: 0.6, C: 0.4}, (B,): {C: 1.0}, (B, C): {END: 1.0}}}


def test_beams_find_what_greedy_misses():
    assert answer(_beams(), [10]).token_ids == [A, B]
    found = answer(_beams(), [10], num_beams=3)
    assert found.token_ids == [B, C]
    assert found.score == pytest.approx(math.log(0.16 / 1.4) + 2 * math.log(0.5), rel=1e-5)


def test_the_first_that_ends_in_front_is_the_answer():
    """A ends in front in the second step; what ends behind the front is discarded."""
    tables = {10: {(): {A: 0.6, B: 0.4}, (A,): {END: 0.7, C: 0.3}, (B,): {END: 0.9, C: 0.1}}}
    assert answer(tables, [10], num_beams=2).token_ids == [A]
    tables[10][(A,)] = {C: 0.95, END: 0.05}
    tables[10][(A, C)] = {END: 1.0}
    assert answer(tables, [10], num_beams=2).token_ids == [A, C]  # B, which ended behind A C, is gone


def test_length_aware_scores_do_not_hold_long_answers_back():
    """Every step certain but the first: by votes each token costs ln 2, here none."""
    tables = {10: {(): {A: 0.55, B: 0.45}, (A,): {END: 1.0}, (B,): {C: 1.0}, (B, C): {D: 1.0}, (B, C, D): {END: 1.0}}}
    short = answer(tables, [10], num_beams=2)
    assert (short.token_ids, short.is_finished) == ([A], True)
    found = answer(tables, [10], num_beams=2, scoring="length_aware")
    assert found.token_ids == [B, C, D]
    assert found.score == pytest.approx(math.log(2 * 0.45**2 / 1.45) / 4, rel=1e-5)
    certain = {10: {(): {A: 1.0}, (A,): {B: 1.0}, (A, B): {END: 1.0}}}
    assert answer(certain, [10], scoring="length_aware").score == pytest.approx(0, abs=1e-6)
    assert answer(certain, [10]).score == pytest.approx(3 * math.log(0.5), abs=1e-6)


@pytest.mark.parametrize("scoring", ["vote", "length_aware"])
def test_answers_that_do_not_end_are_cut(scoring):
    tables = {10: {(): {A: 1.0}, (A,): {B: 1.0}, (A, B): {C: 1.0}}}
    found = answer(tables, [10], max_new_tokens=2, scoring=scoring)
    assert (found.token_ids, found.is_finished) == ([A, B], False)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_beams": 2, "scoring": "length_aware"}])
def test_questions_read_together_are_answered_as_alone(options):
    network = model().eval()
    generator = torch.Generator().manual_seed(9)
    draw = lambda size: torch.randint(5, 30, (size,), generator=generator).tolist()  # noqa: E731 - a few ids
    questions = []
    for sizes in ((5, 9), (7,), (4, 6, 8), ()):
        contents = [draw(size) for size in sizes]
        questions.append(Passages([[2, *content, 3, 9, 3] for content in contents], contents))
    settings = ReadingSettings(max_new_tokens=6, **options)
    together = read(PrefixDecoder(network), questions, settings, end_id=3)
    alone = [read(PrefixDecoder(network), [question], settings, end_id=3)[0] for question in questions]
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]
    assert any(one.token_ids for one in together)
    for one, question in zip(together, questions, strict=True):
        if one.place is not None:
            passage, start = one.place
            assert question.contents[passage][start : start + len(one.token_ids)] == one.token_ids


def test_a_model_that_answers_nothing_at_all():
    network = model().eval()
    with torch.no_grad():
        assert network.lm_head is not None
        assert network.lm_head.bias is not None
        network.lm_head.bias[3] = 1e4
    questions = [Passages([[2, 7, 3, 9, 3]], [[7]])] * 2
    assert read(PrefixDecoder(network), questions, ReadingSettings(), end_id=3) == [NO_ANSWER, NO_ANSWER]


def test_relative_positions_cannot_read_passages_of_different_lengths():
    with pytest.raises(UsageError, match="relative positions reads only rows of equal length"):
        read(PrefixDecoder(model(position="relative")), [Passages([[2, 3]], [[2]])], ReadingSettings(), end_id=3)
