"""jieba's hidden Markov model for characters that form no known word, for many runs of them at once.

The probabilities are jieba's own, and every sum is taken in jieba's order, in the same 64-bit arithmetic and
with its rule for equal scores (the later letter of BEMS wins). So the words are jieba's bit for bit. rjieba's own
model will not do: its probabilities are rounded to six digits, which decides otherwise wherever two readings are
about equally likely.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from nlpx.counting.segmentation.probabilities import probabilities

FIRST_HAN, LAST_HAN = 0x4E00, 0x9FD5  # the characters that jieba's model reads, 一 to 鿕

_STATES = "BEMS"  # begin, end, middle of a word, single; rows of every table below
_IMPOSSIBLE = -3.14e100  # jieba's logarithm of zero
# The two states that may come before each state, in the order of their letters.
_BEFORE = np.array([[1, 3], [0, 2], [0, 2], [1, 3]])


class _Model(NamedTuple):
    start: np.ndarray  # (4, 1)
    step: np.ndarray  # (2, 4, 1): from the first and from the second state that may come before
    emission: np.ndarray  # (4, characters)


def find_word_ends(codes: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Where words end, as a bool for each of `codes` (N,): False outside the runs.

    `codes` are code points; run i is `codes[begins[i]:begins[i] + lengths[i]]`, all of it Chinese characters
    (`FIRST_HAN` to `LAST_HAN`); runs do not overlap, and every length is at least 1.
    """
    ends = np.zeros(len(codes), dtype=bool)
    if len(begins) == 0:
        return ends
    order = np.argsort(-lengths, kind="stable")  # so that the runs still going on are always the first ones
    begins, lengths = begins[order], lengths[order]
    num_active = np.searchsorted(-lengths, -np.arange(lengths[0]))  # [t]: runs longer than t
    state, choices = _forward(codes, begins, num_active)
    for step in range(len(num_active) - 1, -1, -1):
        current = state[: num_active[step]]
        ends[begins[: len(current)] + step] = current % 2 == 1  # E or S
        if step > 0:
            chosen = choices[step - 1][current, np.arange(len(current))]
            current[:] = _BEFORE[current, chosen.view(np.int8)]
    return ends


def _forward(codes: np.ndarray, begins: np.ndarray, num_active: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The best last state of every run (runs,), and for each later step which state before was better (4, runs)."""
    model = _model()
    score = model.start + model.emission.take(codes[begins] - FIRST_HAN, axis=1)
    last = np.empty(len(begins), dtype=np.int64)
    choices = []
    for step, count in enumerate(num_active[1:].tolist(), start=1):
        last[count : score.shape[1]] = _best_last(score[:, count:])
        emission = model.emission.take(codes[begins[:count] + step] - FIRST_HAN, axis=1)
        first, second = (score[_BEFORE[:, k], :count] + model.step[k] + emission for k in (0, 1))
        choices.append(second >= first)
        score = np.maximum(first, second)
    last[: score.shape[1]] = _best_last(score)
    return last, choices


def _best_last(score: np.ndarray) -> np.ndarray:
    return np.where(score[3] >= score[1], 3, 1)


@cache
def _model() -> _Model:
    begin, steps = probabilities("start"), probabilities("trans")
    emission = np.full((len(_STATES), LAST_HAN - FIRST_HAN + 1), _IMPOSSIBLE)
    for row, state in zip(emission, _STATES, strict=True):
        for character, probability in probabilities("emit")[state].items():
            if FIRST_HAN <= ord(character) <= LAST_HAN:
                row[ord(character) - FIRST_HAN] = probability
    start = np.array([[begin[state]] for state in _STATES])
    pairs = [[(_STATES[before[k]], to) for before, to in zip(_BEFORE, _STATES, strict=True)] for k in (0, 1)]
    step = np.array([[[steps[before][to]] for before, to in row] for row in pairs])
    return _Model(start, step, emission)
