"""Reading comprehension: one answer to a question from several passages, each read by itself.

A model with a UniLM mask reads every passage with the question, and writes one answer for all of them, token by token
(Su Jianlin's seq2seq reader). Passages that would end at once, for they answer nothing, are dropped. Of those left,
P, each token gets the vote

    sum of p ** 2 / (1 + sum of p)

of its probabilities p, and a beam search goes by the sum of the votes' logarithms. An extractive answer is held to
what stands in one of these passages: a next token must continue the answer so far somewhere.

The vote is no probability: where all passages are certain it is P / (P + 1), so a certain passage alone gives one half
for each token. The author's search compares answers of equal length only, and returns the first that ends in front.
`length_aware` multiplies the vote by (P + 1) / P, which gives 1 there, keeps answers that have ended, and takes the
one with the highest mean logarithm a token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from nlpx.decode.generation.decoders import Decoder
from nlpx.errors import UsageError

Scoring = Literal["vote", "length_aware"]
Place = tuple[int, int]  # a passage's number, and a position in its content


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """How an answer is found."""

    max_new_tokens: int = 32  # the end token included
    num_beams: int = 1
    is_extractive: bool = True
    scoring: Scoring = "vote"


@dataclass(frozen=True, slots=True)
class Passages:
    """The passages of one question as ids: what the model reads of each, and the tokens that answers come from."""

    sources: Sequence[Sequence[int]]
    contents: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's tokens without the end token, none where no passage has an answer.

    `score` is the sum of the votes' logarithms; of `length_aware` their mean a token. `kept` are the numbers of the
    passages that voted; `place` is where an extractive answer begins.
    """

    token_ids: list[int]
    score: float
    kept: list[int]
    place: Place | None = None
    is_finished: bool = True


NO_ANSWER = Answer([], 0.0, [])


@torch.inference_mode()
def read(decoder: Decoder, questions: Sequence[Passages], settings: ReadingSettings, *, end_id: int) -> list[Answer]:
    """The answer to each question, in order; all questions are read together.

    Raises `UsageError` for a model whose rows must all have the same length.
    """
    if decoder.is_even:
        raise UsageError(
            "passages differ in length, and a model with relative positions reads only rows of equal length together",
            hint="take a model with other positions, such as char-tiny",
        )
    sources = [source for question in questions for source in question.sources]
    if not sources:
        return [NO_ANSWER] * len(questions)
    logits, state = decoder.start(sources)  # (R, V), a row for each passage
    searches, rows = _drop(questions, logits.argmax(dim=1).tolist(), settings, end_id)
    live = [search for search in searches if search is not None]
    if live:
        logits = logits[rows]
        state.select(rows)
    while live:
        probabilities = logits.double().softmax(dim=1)  # (R, V)
        rows, first = [], 0
        for search in live:
            num_passages, num_beams = len(search.kept), len(search.beams)
            block = probabilities[first : first + num_beams * num_passages].unflatten(0, (num_beams, num_passages))
            parents = search.advance(vote(block))
            rows += [first + parent * num_passages + passage for parent in parents for passage in range(num_passages)]
            first += num_beams * num_passages
        live = [search for search in live if search.answer is None]
        if live:
            tokens = [beam.token_ids[-1] for search in live for beam in search.beams for _ in search.kept]
            state.select(rows)
            logits = decoder.step(torch.tensor(tokens, device=logits.device), state)
    return [NO_ANSWER if search is None or search.answer is None else search.answer for search in searches]


def vote(probabilities: Tensor) -> Tensor:
    """The votes (..., V) of P passages with these probabilities (..., P, V)."""
    return probabilities.square().sum(dim=-2) / (probabilities.sum(dim=-2) + 1)


@dataclass(slots=True)
class _Beam:
    """An unfinished answer, and the places that come next where it stands; None for the empty one, at all places."""

    token_ids: list[int]
    total: float
    places: list[Place] | None = None


@dataclass(slots=True)
class _Search:
    """The answers to one question; `answer` is there once it is found."""

    contents: Sequence[Sequence[int]]
    kept: list[int]  # numbers of the passages that are left
    settings: ReadingSettings
    end_id: int
    width: int  # beams that go on at most: each that ends leaves one less
    beams: list[_Beam] = field(default_factory=lambda: [_Beam([], 0.0)])
    finished: list[Answer] = field(default_factory=list)
    answer: Answer | None = None

    def advance(self, votes: Tensor) -> list[int]:
        """One more token, from the votes (beams, V); returns the beam that each of the new ones came from."""
        scores = votes.log()  # (K, V)
        if self.settings.scoring == "length_aware":
            scores = scores + math.log((len(self.kept) + 1) / len(self.kept))
        if self.settings.is_extractive:
            scores = self._within_passages(scores)
        totals = scores + torch.tensor([[beam.total] for beam in self.beams], dtype=scores.dtype, device=scores.device)
        best = totals.flatten().topk(min(self.width, totals.numel()))
        beams, parents = [], []
        for rank, (total, index) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            parent, token = divmod(index, votes.shape[1])
            if total == -math.inf:
                break
            if token == self.end_id:
                self._end(self.beams[parent], total, is_best=rank == 0)
            else:
                beams.append(self._grown(self.beams[parent], token, total))
                parents.append(parent)
        self.beams = beams
        self._conclude()
        return [] if self.answer is not None else parents

    def _end(self, beam: _Beam, total: float, *, is_best: bool) -> None:
        """An answer ends here: by the author's rule it counts if it is in front, and is discarded if not."""
        self.width -= 1
        if self.settings.scoring == "length_aware":
            self.finished.append(self._as_answer(beam, total / (len(beam.token_ids) + 1), is_finished=True))
        elif is_best:
            self.answer = self._as_answer(beam, total, is_finished=True)

    def _conclude(self) -> None:
        """Settle the answer where nothing is left to follow, or the limit is reached."""
        if self.answer is not None:
            return
        at_limit = bool(self.beams) and len(self.beams[0].token_ids) >= self.settings.max_new_tokens
        if self.beams and not at_limit and self.width:
            return
        length_aware = self.settings.scoring == "length_aware"
        cut = [
            self._as_answer(beam, beam.total / len(beam.token_ids) if length_aware else beam.total, is_finished=False)
            for beam in self.beams
        ]
        found = [*self.finished, *cut]
        self.answer = max(found, key=lambda answer: answer.score) if found else Answer([], 0.0, self.kept)

    def _grown(self, beam: _Beam, token: int, total: float) -> _Beam:
        places = None
        if self.settings.is_extractive:
            places = [
                (passage, index + 1) for passage, index in self._places(beam) if self.contents[passage][index] == token
            ]
        return _Beam([*beam.token_ids, token], total, places)

    def _places(self, beam: _Beam) -> list[Place]:
        """Where a next token of an answer stands."""
        if beam.places is None:
            return [(passage, index) for passage in self.kept for index in range(len(self.contents[passage]))]
        return [(passage, index) for passage, index in beam.places if index < len(self.contents[passage])]

    def _within_passages(self, scores: Tensor) -> Tensor:
        """Only the end token, and what continues each beam in a passage."""
        allowed = torch.full_like(scores, -math.inf)
        for row, beam in enumerate(self.beams):
            tokens = list({self.end_id, *(self.contents[passage][index] for passage, index in self._places(beam))})
            allowed[row, tokens] = scores[row, tokens]
        return allowed

    def _as_answer(self, beam: _Beam, score: float, *, is_finished: bool) -> Answer:
        place = None
        if beam.places and beam.token_ids:
            passage, end = min(beam.places)
            place = passage, end - len(beam.token_ids)
        return Answer(beam.token_ids, score, self.kept, place, is_finished)


def _drop(
    questions: Sequence[Passages], first_tokens: Sequence[int], settings: ReadingSettings, end_id: int
) -> tuple[list[_Search | None], list[int]]:
    """A search for each question with passages that do not end at once, else None; and the rows of these passages."""
    searches: list[_Search | None] = []
    rows: list[int] = []
    first = 0
    for question in questions:
        kept = [number for number in range(len(question.sources)) if first_tokens[first + number] != end_id]
        searches.append(_Search(question.contents, kept, settings, end_id, settings.num_beams) if kept else None)
        rows += [first + number for number in kept]
        first += len(question.sources)
    return searches, rows
