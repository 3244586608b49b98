"""TextRank: sentences that are like many others which are so themselves (Mihalcea and Tarau 2004, W04-3252).

Similarity is the cosine of TF-IDF of character bigrams within the text, as in LexRank (Erkan and Radev 2004,
jair.org/index.php/jair/article/view/10396): no words and no other texts are needed. The matrix of all pairs of N
sentences is never made: it is a product X X' of the vectors less its diagonal, and is multiplied by as such. Time and
memory grow with the length of the text and not with the square of N.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAMPING = 0.85
TOLERANCE = 1e-6  # of the sum of changes of one iteration; all ranks sum to 1
MAX_ITERATIONS = 100
_CHARACTERS = 1 << 21  # more than there are code points


class _Vectors(NamedTuple):
    """Rows of length 1 of a sparse matrix X (N, F): sentence, feature and value of each entry, all (E,)."""

    sentence: NDArray[np.int64]
    feature: NDArray[np.int64]
    value: NDArray[np.float64]


def textrank(texts: Sequence[str]) -> list[float]:
    """The rank of each of N sentences, summing to 1: the chance that a walk from like to like is there.

    A sentence that is like no other has the chance of a walk that begins there.
    """
    if not texts:
        return []
    vectors = _tf_idf(texts)
    return [float(rank) for rank in _walk(vectors, len(texts))]


def _tf_idf(texts: Sequence[str]) -> _Vectors:
    """TF-IDF of the pairs of neighbouring letters; IDF is log(N / sentences that have it)."""
    encoded = "\n".join(texts).lower().encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(encoded, dtype=np.uint32).astype(np.int64)  # (C,)
    is_letter = _letters(codes)
    pairs = np.flatnonzero(is_letter[:-1] & is_letter[1:])
    ends = np.cumsum([len(text.lower()) + 1 for text in texts])  # the place behind each sentence and its line end
    sentences = np.searchsorted(ends, pairs, side="right")  # (P,)
    _, features = np.unique(codes[pairs] * _CHARACTERS + codes[pairs + 1], return_inverse=True)  # (P,)
    if not len(pairs):
        empty = np.zeros(0, dtype=np.int64)
        return _Vectors(empty, empty, np.zeros(0))
    num_features = int(features.max()) + 1
    entries, counts = np.unique(sentences * num_features + features, return_counts=True)  # (E,)
    sentence, feature = np.divmod(entries, num_features)
    idf = np.log(len(texts) / np.bincount(feature))  # (F,)
    value = counts * idf[feature]
    length = np.sqrt(np.bincount(sentence, weights=value**2, minlength=len(texts)))  # (N,)
    length[length == 0] = 1
    return _Vectors(sentence, feature, value / length[sentence])


def _letters(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which characters belong to words: letters and digits of any script."""
    distinct, places = np.unique(codes, return_inverse=True)
    return np.array([chr(code).isalnum() for code in distinct], dtype=bool)[places]


def _walk(vectors: _Vectors, num_sentences: int) -> NDArray[np.float64]:
    sentence, feature, value = vectors
    num_features = int(feature.max()) + 1 if len(feature) else 0
    itself = np.bincount(sentence, weights=value**2, minlength=num_sentences)  # (N,), the diagonal of X X'

    def times(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        """The similarities of each sentence to all others, times their ranks: (N,) -> (N,)."""
        of_features = np.bincount(feature, weights=value * ranks[sentence], minlength=num_features)  # (F,)
        found = np.bincount(sentence, weights=value * of_features[feature], minlength=num_sentences)
        return found - itself * ranks

    degrees = times(np.ones(num_sentences))
    degrees[degrees < TOLERANCE] = np.inf  # like no other: the walk ends there
    ranks = np.full(num_sentences, 1 / num_sentences)
    for _ in range(MAX_ITERATIONS):
        before = ranks
        ranks = (1 - DAMPING) / num_sentences + DAMPING * times(ranks / degrees)
        ranks = ranks + (1 - ranks.sum()) / num_sentences  # what ended somewhere begins anew anywhere
        if np.abs(ranks - before).sum() < TOLERANCE:
            break
    return ranks
