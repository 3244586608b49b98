"""Beam search over many sources at once, equal in result to that of transformers (`early_stopping=False`).

Each source keeps its best unfinished answers. In each step every answer proposes its likeliest tokens; of all proposals
of a source, those among the best `num_beams` that end an answer become finished ones, and the best others go on. A
source is done when its answers that go on can no longer outdo the worst of `num_beams` finished ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from nlpx.decode.generation.decoders import Decoder
from nlpx.decode.generation.hypothesis import Hypothesis, Source, ranked_score, without_end
from nlpx.decode.generation.processors import Processor, process
from nlpx.decode.generation.search import nothing_allowed
from nlpx.decode.generation.settings import GenerationSettings


@dataclass(slots=True)
class Beam:
    """An unfinished answer: tokens, the model's log probabilities of them, and the sum that it is ranked by."""

    token_ids: list[int]
    log_probabilities: list[float]
    total: float

    def grown(self, proposal: Proposal) -> Beam:
        """The same with one more token."""
        return Beam(
            [*self.token_ids, proposal.token_id],
            [*self.log_probabilities, proposal.log_probability],
            proposal.total,
        )


class Proposal(NamedTuple):
    """One of a source's answers with one more token: the sum, which answer, the token, the model's log probability."""

    total: float
    beam: int
    token_id: int
    log_probability: float


@dataclass(slots=True)
class Search:
    """The answers of one source."""

    source: Source
    beams: list[Beam] = field(default_factory=lambda: [Beam([], [], 0.0)])
    finished: list[Hypothesis] = field(default_factory=list)

    def advance(self, proposals: list[Proposal], settings: GenerationSettings, ends: Collection[int]) -> list[int]:
        """Take over the best proposals; returns the numbers of the answers that those which go on came from."""
        if not proposals and not self.finished:
            raise nothing_allowed(self.source.number, len(self.beams[0].token_ids))
        proposals.sort(key=lambda proposal: -proposal.total)
        beams: list[Beam] = []
        parents: list[int] = []
        for rank, proposal in enumerate(proposals):
            if len(beams) == settings.num_beams:
                break
            grown = self.beams[proposal.beam].grown(proposal)
            ended = proposal.token_id in ends
            if (ended or len(grown.token_ids) == self.source.longest) and rank < settings.num_beams:
                self._finish(grown, settings, ended=ended)
            elif not ended:
                beams.append(grown)
                parents.append(proposal.beam)
        order = _places(parents, len(self.beams))
        self.beams = [beams[child] for child in order]
        return [parents[child] for child in order]

    def is_done(self, settings: GenerationSettings) -> bool:
        """Whether nothing that goes on could still be among the best."""
        if not self.beams or len(self.beams[0].token_ids) >= self.source.longest:
            return True
        if len(self.finished) < settings.num_beams:
            return False
        best = max(beam.total for beam in self.beams)
        return ranked_score(best, len(self.beams[0].token_ids), settings.length_penalty) <= self.finished[-1].score

    def _finish(self, beam: Beam, settings: GenerationSettings, *, ended: bool) -> None:
        score = ranked_score(beam.total, len(beam.token_ids), settings.length_penalty)
        tokens = without_end(beam.token_ids, is_finished=ended)
        self.finished.append(Hypothesis(tokens, score, beam.log_probabilities, ended))
        self.finished.sort(key=lambda answer: -answer.score)
        del self.finished[settings.num_beams :]


def _places(parents: Sequence[int], num_rows: int) -> list[int]:
    """An order of children in which as many as possible stand in the row of their parent, where nothing is copied."""
    if len(parents) != num_rows:
        return list(range(len(parents)))
    rows: list[int | None] = [None] * num_rows
    others = []
    for child, parent in enumerate(parents):
        if rows[parent] is None:
            rows[parent] = child
        else:
            others.append(child)
    return [others.pop(0) if child is None else child for child in rows]


def beam_search(
    decoder: Decoder,
    sources: Sequence[Source],
    settings: GenerationSettings,
    *,
    end_ids: Collection[int],
    processors: Sequence[Processor],
) -> list[list[Hypothesis]]:
    """The best `num_return` answers of each source.

    Raises `InputError` where processors allow nothing.
    """
    logits, state = decoder.start([source.token_ids for source in sources])  # (B, V)
    searches = [Search(source) for source in sources]
    live = searches
    while True:
        proposals = _proposals(live, logits, settings, end_ids, processors)
        rows, first_row = [], 0
        for search, proposed in zip(live, proposals, strict=True):
            num_rows = len(search.beams)
            parents = search.advance(proposed, settings, end_ids)
            if not search.is_done(settings):
                rows += [first_row + parent for parent in parents]
            first_row += num_rows
        live = [search for search in live if not search.is_done(settings)]
        if not live:
            return [search.finished[: settings.num_return] for search in searches]
        if rows != list(range(first_row)):
            state.select(rows)
        tokens = [beam.token_ids[-1] for search in live for beam in search.beams]
        logits = decoder.step(torch.tensor(tokens, device=logits.device), state)


def _proposals(
    live: Sequence[Search],
    logits: Tensor,
    settings: GenerationSettings,
    end_ids: Collection[int],
    processors: Sequence[Processor],
) -> list[list[Proposal]]:
    """The likeliest continuations of each source's answers, enough to go on with `num_beams` that do not end."""
    count = min(settings.num_beams + len(end_ids), logits.shape[1])
    if processors:
        own = logits.log_softmax(dim=1)  # (B, V)
        answers = [(search, beam) for search in live for beam in search.beams]
        histories = [search.source.before + beam.token_ids for search, beam in answers]
        num_new = len(answers[0][1].token_ids)  # all answers grow together
        scores = process(processors, histories, [search.source.number for search, _ in answers], num_new, own)
        values, token_ids = scores.topk(count, dim=1)  # (B, count)
        log_probabilities = own.gather(1, token_ids)
    else:
        values, token_ids = logits.topk(count, dim=1)
        values = log_probabilities = values - logits.logsumexp(dim=1, keepdim=True)
    table = list(zip(values.tolist(), token_ids.tolist(), log_probabilities.tolist(), strict=True))
    found, row = [], 0
    for search in live:
        proposed = [
            Proposal(beam.total + value, number, token_id, log_probability)
            for number, beam in enumerate(search.beams)
            for value, token_id, log_probability in zip(*table[row + number], strict=True)
            if value > -torch.inf
        ]
        found.append(proposed)
        row += len(search.beams)
    return found
