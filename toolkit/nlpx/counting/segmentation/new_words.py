"""From jieba's segmentation with its hidden Markov model (HMM) off to the one with HMM on: the rule itself.

Where the dictionary knows no word, HMM off leaves single characters. jieba joins each unbroken sequence of them
into a buffer. One that happens to be a word stays in single characters; of any other the model reads the Chinese
runs, and a pattern splits what lies between. Here the buffers are found again in the finished segments. That loses
nothing: the only other joining that HMM off does is of single letters and digits, and what it joins is never a
word of the dictionary, because a word scores higher than its characters. (Unless single letters, digits or marks
are words themselves: `nlpx.counting.segmentation.segmenters` leaves such dictionaries to jieba.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby, pairwise

IsWord = Callable[[str], bool]

_HAN = re.compile(r"([\u4e00-\u9fd5]+)")
_LOOSE_ASCII = re.compile(r"[a-zA-Z0-9]+|[+#&._%\-]")
_LOOSE = re.compile(rf"[\u4e00-\u9fd5]|{_LOOSE_ASCII.pattern}")
# jieba's logarithm of nothing, and which states may come before each.
_IMPOSSIBLE = -3.14e100
_BEFORE = {"B": "ES", "M": "MB", "S": "SE", "E": "BM"}
_NUMBER_OR_NAME = re.compile(r"([a-zA-Z0-9]+(?:\.[0-9]+)?%?)")


def find_new_words(segments: list[str], is_word: IsWord) -> Iterator[str]:
    """The segments with HMM on, from all `segments` of a text with HMM off.

    `is_word` tells whether the dictionary holds a word.
    """
    for loose, group in groupby(segments, lambda segment: _is_loose(_LOOSE, segment, is_word)):
        if loose:
            yield from _read_buffer("".join(group), is_word)
        else:
            yield from group


def is_loose_ascii(segment: str, is_word: IsWord) -> bool:
    """Whether `segment` is part of a buffer: a mark, or letters and digits that the dictionary does not hold."""
    return _is_loose(_LOOSE_ASCII, segment, is_word)


def split_ascii(part: str) -> list[str]:
    """The segments of a part of a buffer without Chinese characters: numbers, names, and what lies between."""
    return [piece for piece in _NUMBER_OR_NAME.split(part) if piece]


def _is_loose(pattern: re.Pattern[str], segment: str, is_word: IsWord) -> bool:
    return pattern.fullmatch(segment) is not None and (len(segment) == 1 or not is_word(segment))


def _read_buffer(buffer: str, is_word: IsWord) -> Iterator[str]:
    if len(buffer) == 1 or is_word(buffer):
        yield from buffer
        return
    for number, part in enumerate(_HAN.split(buffer)):
        yield from _read_run(part) if number % 2 else split_ascii(part)


@lru_cache(maxsize=1 << 16)
def _read_run(run: str) -> tuple[str, ...]:
    states = _most_likely_states(run)
    begins = [0, *(place for place, state in enumerate(states, start=1) if state in "ES")]
    return tuple(run[begin:end] for begin, end in pairwise(begins))


def _most_likely_states(run: str) -> str:
    """The letters B, E, M, S for the characters of a run: sums in jieba's order, of equal ones the later letter."""
    from nlpx.counting.segmentation.probabilities import probabilities

    start, step, emission = probabilities("start"), probabilities("trans"), probabilities("emit")
    score = {state: start[state] + emission[state].get(run[0], _IMPOSSIBLE) for state in _BEFORE}
    paths = {state: state for state in _BEFORE}
    for character in run[1:]:
        best = {}
        for state, before in _BEFORE.items():
            emitted = emission[state].get(character, _IMPOSSIBLE)
            best[state] = max((score[last] + step[last].get(state, _IMPOSSIBLE) + emitted, last) for last in before)
        score = {state: probability for state, (probability, _) in best.items()}
        paths = {state: paths[last] + state for state, (_, last) in best.items()}
    return paths[max("ES", key=lambda state: (score[state], state))]
