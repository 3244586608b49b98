"""Cosines of sentence pairs under every pooling and map, from one pass over the texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpx.embed.encoder import SentenceEncoder
from nlpx.embed.moments import Moments
from nlpx.embed.unit_vectors import exactly_unit, whitened
from nlpx.embed.whitening import Choices, Whitening, fit
from nlpx.embed.windows import windows
from nlpx.errors import InputError

Matrix = NDArray[Any]

PAIRS_AT_ONCE = 8192  # in float64: 8192 x 768 x 2 vectors are 100 MB
DIGITS = 12  # of a cosine: pairs of equal texts then tie at 1, instead of 1 and 1 - 1e-16


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs by the numbers of their texts, `sides` (n, 2), each text once, and the scores people gave, (n,)."""

    name: str
    texts: Sequence[str]
    sides: Matrix
    scores: Matrix

    @classmethod
    def of(cls, name: str, pairs: Sequence[tuple[str, str, float]]) -> PairSet:
        """From two texts and a score each. Raises InputError if all scores are the same."""
        scores = np.array([score for _, _, score in pairs])
        if len(set(scores.tolist())) < 2:
            raise InputError(
                f"{name}: all {len(pairs):,} pairs have the score {scores[0]:g}: nothing can correlate with that",
                hint="choose other pairs, or more of them with a larger --limit",
            )
        numbers: dict[str, int] = {}
        sides = [[numbers.setdefault(text, len(numbers)) for text in pair[:2]] for pair in pairs]
        return cls(name, list(numbers), np.array(sides), scores)


def maps(dim: int) -> dict[str, Choices | None]:
    """The columns of a comparison: plain, whitened, whitened and truncated to `dim`, only rotated and truncated."""
    return {
        "plain": None,
        "whitening": Choices(),
        f"whitening-{dim}": Choices(dim=dim),
        f"turned-{dim}": Choices(dim=dim, beta=0, gamma=0),
    }


def fit_maps(moments: Moments, chosen: Mapping[str, Choices | None]) -> dict[str, Whitening | str | None]:
    """The map of each name; None where there is none, and the reason where these moments do not allow it."""
    found: dict[str, Whitening | str | None] = {}
    for name, choices in chosen.items():
        try:
            found[name] = None if choices is None else fit(moments, choices)
        except InputError as error:
            found[name] = error.message
    return found


@contextmanager
def embedded(encoder: SentenceEncoder, texts: Sequence[str], *, advance: Any) -> Iterator[dict[str, Matrix]]:
    """Vectors (N, d) of the texts for every pooling, in a temporary file; `advance(count)` is called as it proceeds."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        vectors: dict[str, Matrix] = {
            pooling: np.memmap(Path(folder) / pooling, np.float32, "w+", shape=(len(texts), encoder.dim))
            for pooling in encoder.poolings
        }
        start = 0
        for window in windows(texts):
            for pooling, found in encoder.encode(window).items():
                vectors[pooling][start : start + len(window)] = found
            start += len(window)
            advance(len(window))
        yield vectors


def add_moments(moments: Moments, vectors: Matrix) -> None:
    """Add vectors (N, d) without those of empty texts, which would distort the moments."""
    moments.add(vectors[vectors.any(axis=1)])


def moments_of_pairs(vectors: Matrix, sides: Matrix) -> Moments:
    """Of both sides of all pairs, a text counting as often as it occurs."""
    moments = Moments(vectors.shape[1])
    for start in range(0, len(sides), PAIRS_AT_ONCE):
        add_moments(moments, vectors[sides[start : start + PAIRS_AT_ONCE].ravel()])
    return moments


def cosines(vectors: Matrix, sides: Matrix, whitening: Whitening | None) -> Matrix:
    """Cosines of pairs (n, 2) of vectors (N, d) through the map, (n,), in float64; 0 with an empty text."""
    found = np.empty(len(sides))
    for start in range(0, len(sides), PAIRS_AT_ONCE):
        part = sides[start : start + PAIRS_AT_ONCE]
        sides_of_part = (vectors[part[:, side]].astype(np.float64) for side in (0, 1))
        left, right = (exactly_unit(whitened(rows, whitening)) for rows in sides_of_part)
        found[start : start + len(part)] = np.einsum("ij,ij->i", left, right)
    return found.round(DIGITS)
