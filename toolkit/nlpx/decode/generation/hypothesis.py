"""What goes into generation and what comes out: sources, hypotheses, and how they are ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """A source of one call of `generate`: its number in it, and the limits of its answers."""

    number: int
    token_ids: Sequence[int]
    before: list[int]  # what processors see in front of every answer
    longest: int  # tokens of an answer at most


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One answer. Log probabilities are in nats.

    `log_probabilities` are the model's own, before any processor changed its logits; one a token, and one for the end
    token where it came. `score` is what answers are ranked by: their sum over length ** length_penalty. Beams take
    what processors made of them, which differs for a repetition penalty only: others leave a number or forbid it.
    """

    token_ids: list[int]  # without start and end tokens
    score: float
    log_probabilities: list[float]
    is_finished: bool  # an end token came; else the answer was cut at its longest


def ranked_score(total: float, num_tokens: int, length_penalty: float) -> float:
    """A sum of log probabilities over length ** penalty (arXiv 1609.08144 without its constant); 0: the sum itself."""
    return total if length_penalty == 0 else total / float(num_tokens) ** length_penalty


def without_end(token_ids: Sequence[int], *, is_finished: bool) -> list[int]:
    """The tokens of an answer; its last is the end token where it is finished."""
    return list(token_ids[:-1] if is_finished else token_ids)
