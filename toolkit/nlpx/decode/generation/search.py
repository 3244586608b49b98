"""The likeliest token each time, or a drawn one: every row for itself."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nlpx.decode.generation.decoders import Decoder
from nlpx.decode.generation.hypothesis import Hypothesis, Source, ranked_score, without_end
from nlpx.decode.generation.processors import Processor, process
from nlpx.decode.generation.settings import GenerationSettings
from nlpx.errors import InputError


@dataclass(slots=True)
class Row:
    """An answer that grows: whose it is, and which of several."""

    source: Source
    number: int
    token_ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    ended: bool = False

    @property
    def is_done(self) -> bool:
        """Whether it gets no more tokens."""
        return self.ended or len(self.token_ids) == self.source.longest

    def hypothesis(self, length_penalty: float) -> Hypothesis:
        """The answer as it is returned."""
        score = ranked_score(math.fsum(self.log_probabilities), len(self.token_ids), length_penalty)
        tokens = without_end(self.token_ids, is_finished=self.ended)
        return Hypothesis(tokens, score, self.log_probabilities, self.ended)


def search(
    decoder: Decoder,
    sources: Sequence[Source],
    settings: GenerationSettings,
    *,
    end_ids: Collection[int],
    processors: Sequence[Processor],
    draws: Tensor | None,
) -> list[list[Hypothesis]]:
    """One list a source, best first; with `draws` of `uniforms` tokens are drawn.

    Raises `InputError` where processors allow nothing.
    """
    logits, state = decoder.start([source.token_ids for source in sources])  # (B, V)
    rows = [Row(source, number) for source in sources for number in range(settings.num_return)]
    if settings.num_return > 1:
        repeated = [row for row in range(len(sources)) for _ in range(settings.num_return)]
        state.select(repeated)
        logits = logits[repeated]
    live = rows
    for num_new in range(max(source.longest for source in sources)):
        scores = _processed(processors, live, num_new, logits)
        chosen = scores.argmax(dim=1) if draws is None else _draw(scores, _numbers(draws, live, num_new))  # (B,)
        _add(live, chosen, logits, scores, end_ids)
        staying = [index for index, row in enumerate(live) if not row.is_done]
        if not staying:
            break
        if len(staying) < len(live):
            live = [live[index] for index in staying]
            state.select(staying)
            chosen = chosen[staying]
        logits = decoder.step(chosen, state)
    answers = [row.hypothesis(settings.length_penalty) for row in rows]
    grouped = [answers[first : first + settings.num_return] for first in range(0, len(answers), settings.num_return)]
    return [sorted(group, key=lambda answer: -answer.score) for group in grouped]


def uniforms(num_sources: int, settings: GenerationSettings, generator: torch.Generator | None) -> Tensor | None:
    """Numbers in [0, 1) that draws follow, (sources, num_return, max_new_tokens); None where nothing is drawn.

    A token depends on the number of its own place alone, and those of a source are the same ones whether sources come
    together or one by one.
    """
    if not settings.is_sampling:
        return None
    shape = (num_sources, settings.num_return, settings.max_new_tokens)
    return torch.rand(shape, dtype=torch.float64, generator=generator)


def _processed(processors: Sequence[Processor], live: Sequence[Row], num_new: int, logits: Tensor) -> Tensor:
    if not processors:
        return logits
    histories = [row.source.before + row.token_ids for row in live]
    return process(processors, histories, [row.source.number for row in live], num_new, logits)


def _add(live: Sequence[Row], chosen: Tensor, logits: Tensor, scores: Tensor, end_ids: Collection[int]) -> None:
    """Append a token to every row, with the model's log probability of it."""
    at = chosen[:, None]  # (B, 1)
    found = logits.log_softmax(dim=1).gather(1, at)[:, 0].tolist()
    allowed = (scores.gather(1, at)[:, 0] > -torch.inf).tolist()
    for row, token, log_probability, is_allowed in zip(live, chosen.tolist(), found, allowed, strict=True):
        if not is_allowed:
            raise nothing_allowed(row.source.number, len(row.token_ids))
        row.token_ids.append(token)
        row.log_probabilities.append(log_probability)
        row.ended = token in end_ids


def nothing_allowed(source: int, num_tokens: int) -> InputError:
    """The error where processors leave no token."""
    return InputError(
        f"source {source + 1}: no token is allowed after {num_tokens} tokens of the answer",
        hint="the constraints exclude one another, or leave nothing of the vocabulary",
    )


def _numbers(draws: Tensor, live: Sequence[Row], num_new: int) -> Tensor:
    return draws[[row.source.number for row in live], [row.number for row in live], num_new]  # (B,)


def _draw(scores: Tensor, uniforms: Tensor) -> Tensor:
    """Ids (B,) from scores (B, V) and numbers in [0, 1) (B,), by inversion."""
    cumulative = scores.softmax(dim=1).cumsum(dim=1, dtype=torch.float64)
    total = cumulative[:, -1:].contiguous()
    # Below the total in every rounding: what lies beyond it are ids of probability 0.
    threshold = torch.minimum(uniforms.to(total.device)[:, None] * total, torch.nextafter(total, total.new_zeros(())))
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp(max=scores.shape[1] - 1)
