"""The beginning of a text as its summary: the first sentence, or as many characters as a target has on average.

Nothing is learned but a length, and a summary of news is hard to write better: the first sentence is one already.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

FIRST_SENTENCE = "the first sentence"
BEGINNING = "the first {length} characters"

_SENTENCE = re.compile(r"[^。！？!?\n]+[。！？!?]*[”’」』》）)]*")


def first_sentence(text: str) -> str:
    """Up to the first mark that ends a sentence, closing marks behind it included; the whole text without one."""
    found = _SENTENCE.search(text.strip())
    return found.group().strip() if found else text.strip()


def beginning(text: str, length: int) -> str:
    """The first `length` characters, blanks around the text left out."""
    return text.strip()[:length]


def mean_length(targets: Sequence[str]) -> int:
    """The mean number of characters of training targets, rounded; at least one."""
    return max(1, round(sum(len(target.strip()) for target in targets) / max(len(targets), 1)))
