"""A character vocabulary from texts: what a model that starts from nothing reads."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable

from nlpx.tokenizers.characters import is_dropped, is_space, lower_and_strip
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab

# Letters and digits as whole words and as continuations, so that no Latin word or number is unknown.
ALPHANUMERIC = tuple(string.ascii_lowercase + string.digits)


def character_vocabulary(texts: Iterable[str], *, max_size: int = 8000, min_count: int = 1) -> Vocab:
    """Special tokens, Latin letters and digits with their `##` forms, then characters by frequency.

    Ties are ordered by code point, so equal texts give an equal vocabulary.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(lower_and_strip(text))
    tokens = [*SPECIAL_TOKENS, *ALPHANUMERIC, *(f"##{character}" for character in ALPHANUMERIC)]
    known = set(tokens)
    candidates = [
        character
        for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if count >= min_count and character not in known and not (is_space(character) or is_dropped(character))
    ]
    return Vocab(tokens + candidates[: max(0, max_size - len(tokens))], source="built from the training texts")
