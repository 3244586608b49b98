"""ROUGE-1, ROUGE-2 and ROUGE-L of token sequences (Lin 2004, aclanthology.org/W04-1013): F of precision and recall.

`rouge-chinese`, whose figures the Chinese literature quotes, counts each n-gram of a text once: n-grams are sets. Lin's
own script counts how often each occurs: multisets. On short texts the two differ by up to 0.2, so a figure says which
it is. ROUGE-L is the longest common subsequence of the whole texts either way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

Counting = Literal["sets", "multisets"]
Tokens = Sequence[Hashable]

# How one figure is made of the three, as in the judicial summaries of CAIL 2020 (kexue.fm/archives/8046).
MAIN = "0.2 ROUGE-1 + 0.4 ROUGE-2 + 0.4 ROUGE-L"


class Rouge(NamedTuple):
    """The three F scores of a text or of a set of texts, each within [0, 1]."""

    rouge_1: float
    rouge_2: float
    rouge_l: float

    @property
    def main(self) -> float:
        """What `MAIN` says."""
        return 0.2 * self.rouge_1 + 0.4 * self.rouge_2 + 0.4 * self.rouge_l


def rouge(prediction: Tokens, reference: Tokens, counting: Counting = "sets") -> Rouge:
    """Compare two sequences of tokens; all three are 0 where one of them is empty."""
    return Rouge(
        rouge_n(prediction, reference, 1, counting),
        rouge_n(prediction, reference, 2, counting),
        rouge_l(prediction, reference),
    )


def mean(scores: Sequence[Rouge]) -> Rouge:
    """The mean of each score over the texts; zeros for none."""
    return Rouge(*(sum(column) / len(scores) for column in zip(*scores, strict=True))) if scores else Rouge(0, 0, 0)


def rouge_n(prediction: Tokens, reference: Tokens, n: int, counting: Counting = "sets") -> float:
    """F of the n-grams that both texts have."""
    ours, theirs = (Counter(zip(*(tokens[start:] for start in range(n)), strict=False)) for tokens in
                    (prediction, reference))  # fmt: skip
    if counting == "sets":
        return _f(len(ours.keys() & theirs.keys()), len(ours), len(theirs))
    return _f((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(prediction: Tokens, reference: Tokens) -> float:
    """F of the longest common subsequence."""
    return _f(lcs_length(prediction, reference), len(prediction), len(reference))


def lcs_length(first: Tokens, second: Tokens) -> int:
    """Length of the longest common subsequence of two sequences of N and M tokens, in M operations on N bits.

    The classic table has one row a token of `second`. Along a row the lengths grow by 0 or 1, so a row is an integer of
    N bits, here with a 0 where it grows, and the next one follows by an addition (Crochemore et al. 2001; Hyyrö 2004).
    """
    places: dict[Hashable, int] = {}  # token -> bits of the positions in `first` at which it stands
    for index, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << index
    full = (1 << len(first)) - 1
    row = full
    for token in second:
        matches = row & places.get(token, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(first) - row.bit_count()


def _f(common: int, predicted: int, wanted: int) -> float:
    """The harmonic mean of common / predicted and common / wanted."""
    return 2 * common / (predicted + wanted) if common else 0.0
