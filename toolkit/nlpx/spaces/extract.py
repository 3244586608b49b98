"""Taking sentences from a text until a summary of a given size is full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from nlpx.spaces.sentences import Span, sentences
from nlpx.spaces.textrank import textrank

Method = Literal["textrank", "lead"]

DEFAULT_SENTENCES = 3


@dataclass(frozen=True, slots=True)
class Size:
    """How long a summary is at most: in characters if given, else in sentences."""

    sentences: int = DEFAULT_SENTENCES
    characters: int | None = None


class Taken(NamedTuple):
    """A sentence that was taken, and its score: the rank by TextRank; None where the order of the text decides."""

    span: Span
    score: float | None = None


def extract(text: str, method: Method, size: Size) -> list[Taken]:
    """The sentences that make up the summary of a text, in its order; none of a text without any.

    `lead` takes from the beginning, and with a size in characters breaks off within a sentence. `textrank` takes the
    highest ranks first, of equal ones the first, and leaves out what no longer fits; the best sentence is broken off if
    it does not fit by itself.
    """
    spans = sentences(text)
    if method == "lead":
        return _beginning(spans, size)
    return chosen(spans, textrank([span.text for span in spans]), size)


def chosen(spans: Sequence[Span], scores: Sequence[float], size: Size) -> list[Taken]:
    """The spans with the highest scores that fit, in the order of the text."""
    best = sorted(range(len(spans)), key=lambda number: (-scores[number], number))
    if size.characters is None:
        numbers = best[: size.sentences]
        return [Taken(spans[number], scores[number]) for number in sorted(numbers)]
    taken: list[int] = []
    length = 0  # without blanks between
    for number in best:
        if length + len(spans[number].text) > size.characters:
            continue
        if len(joined([spans[other] for other in sorted([*taken, number])])) <= size.characters:
            taken.append(number)
            length += len(spans[number].text)
    if best and not taken:
        return [Taken(_cut(spans[best[0]], size.characters), scores[best[0]])]
    return [Taken(spans[number], scores[number]) for number in sorted(taken)]


def joined(spans: Sequence[Span]) -> str:
    """The spans as one text. A blank stands where words of Latin letters, or lines without a mark, would touch."""
    parts: list[str] = []
    for span in spans:
        if parts and _need_a_blank(parts[-1], span.text):
            parts.append(" ")
        parts.append(span.text)
    return "".join(parts)


def _need_a_blank(before: str, after: str) -> bool:
    return before[-1].isalnum() or (before[-1].isascii() and after[0].isascii())


def _beginning(spans: Sequence[Span], size: Size) -> list[Taken]:
    if size.characters is None:
        return [Taken(span) for span in spans[: size.sentences]]
    taken: list[Span] = []
    for span in spans:
        room = size.characters - len(joined([*taken, span])) + len(span.text)
        if room <= 0:
            break
        taken.append(_cut(span, room))
    return [Taken(span) for span in taken]


def _cut(span: Span, length: int) -> Span:
    text = span.text[:length].rstrip()
    return Span(span.start, span.start + len(text), text)


def above(spans: Sequence[Span], probabilities: Sequence[float], threshold: float, at_least: int) -> list[Taken]:
    """The spans whose probability is above a threshold, in order; if none is, the `at_least` most probable ones."""
    taken = [Taken(span, found) for span, found in zip(spans, probabilities, strict=True) if found > threshold]
    return taken or chosen(spans, probabilities, Size(sentences=at_least))
