"""Which clauses of a source a summary was made from: labels for a model that takes clauses.

The rule is that of the public code of kexue.fm/archives/8046: the longest clause of the summary is given the clause of
the source that is most like it by ROUGE of characters; what stands before it in the summary then belongs to the source
up to that clause, and what stands after it to the source from that clause on, the clause itself included on both sides.
So matches never cross, and a clause may be matched twice. The post tells another rule: every clause of the summary by
itself.

Unlike there, a clause of the summary that has no character in common with the source is matched to nothing, rather than
to the first clause at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nlpx.metrics.generation import characters
from nlpx.metrics.rouge import rouge_l

SCORE = "0.2 ROUGE-1 + 0.4 ROUGE-2 + 0.4 ROUGE-L by characters, n-grams as sets"
_ROUGE_1, _ROUGE_2, _ROUGE_L = 0.2, 0.4, 0.4


class Match(NamedTuple):
    """A clause of the summary, the clause of the source that it is most like, both by number, and their score."""

    summary: int
    source: int
    score: float


def match(source: Sequence[str], summary: Sequence[str]) -> list[Match]:
    """The matches of a summary's clauses with those of its source, ascending in both; of equal ones the first."""
    ours, theirs = [_Clause(text) for text in source], [_Clause(text) for text in summary]
    longest = sorted(range(len(summary)), key=lambda number: -len(summary[number]))  # of equal lengths the first
    found: list[Match] = []
    parts = [(0, len(source), longest)]
    while parts:
        begin, end, clauses = parts.pop()
        if not clauses:
            continue
        number, rest = clauses[0], clauses[1:]
        best = _best(theirs[number], ours[begin:end])
        if best is None:
            parts.append((begin, end, rest))
            continue
        place, score = begin + best[0], best[1]
        found.append(Match(number, place, score))
        parts.append((begin, place + 1, [other for other in rest if other < number]))
        parts.append((place, end, [other for other in rest if other > number]))
    return sorted(found)


def labels(source: Sequence[str], summary: Sequence[str]) -> list[bool]:
    """For each clause of a source whether a clause of the summary was matched with it."""
    taken = {found.source for found in match(source, summary)}
    return [number in taken for number in range(len(source))]


class _Clause:
    """What a clause is compared by; made once, as it is compared with many."""

    __slots__ = ("bigrams", "characters", "unigrams")

    def __init__(self, text: str) -> None:
        self.characters = characters(text)
        self.unigrams = frozenset(self.characters)
        self.bigrams = frozenset(zip(self.characters, self.characters[1:], strict=False))


def _best(wanted: _Clause, candidates: Sequence[_Clause]) -> tuple[int, float] | None:
    """The place and the score of the candidate most like a clause; None if none has a character of it.

    ROUGE-L takes longest, and is asked for only where it can still decide.
    """
    best: tuple[int, float] | None = None
    for place, candidate in enumerate(candidates):
        common = len(wanted.unigrams & candidate.unigrams)
        if not common:
            continue
        score = _ROUGE_1 * _f(common, len(wanted.unigrams), len(candidate.unigrams))
        pairs = len(wanted.bigrams & candidate.bigrams)
        score += _ROUGE_2 * _f(pairs, len(wanted.bigrams), len(candidate.bigrams))
        lengths = len(wanted.characters), len(candidate.characters)
        if best is not None and score + _ROUGE_L * _f(min(lengths), *lengths) <= best[1]:
            continue
        score += _ROUGE_L * rouge_l(wanted.characters, candidate.characters)
        if best is None or score > best[1]:
            best = place, score
    return best


def _f(common: int, one: int, other: int) -> float:
    """The harmonic mean of common / one and common / other."""
    return 2 * common / (one + other) if common else 0.0
