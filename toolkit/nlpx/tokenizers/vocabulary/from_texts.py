"""A character vocabulary from texts: what a model that starts from nothing reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from nlpx.tokenizers.vocab import Vocab
from nlpx.tokenizers.vocabulary.build import build_vocabulary, count_characters


def character_vocabulary(texts: Iterable[str], *, max_size: int = 8000, min_count: int = 1) -> Vocab:
    """Special tokens, Latin letters and digits with their `##` forms, then characters by frequency.

    Ties are ordered by code point, so equal texts give an equal vocabulary; see `build_vocabulary`.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    characters = count_characters(counts.items())
    return build_vocabulary(
        characters, size=max_size, min_count=min_count, source="the vocabulary built from the training texts"
    ).vocab
