"""Spearman's and Pearson's correlation with bootstrap intervals, all resamples at once.

A resample of n pairs is a vector of n weights that say how often each pair was drawn. Ranks inside a resample are
then running sums of weights in an order that is found once, so nothing is sorted again, and ties get the mean of
their ranks exactly as if the drawn pairs had been written out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]

NUM_RESAMPLES = 1000
CONFIDENCE = 0.95
NUMBERS_AT_ONCE = 1 << 20
KINDS = ("spearman", "pearson")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A correlation, and the bounds between which 95 % of its resamples lie; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, resampled: Matrix) -> Estimate:
        """From the value and those of the resamples (R,); a resample without variance (NaN) does not count."""
        usable = resampled[np.isfinite(resampled)]
        if not np.isfinite(value) or not len(usable):
            return cls(None, None, None)
        low, high = np.quantile(usable, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return cls(float(value), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Resampled:
    """`values` (2, C) of C variables with the scores, and the same of R resamples, (2, C, R); rows are `KINDS`."""

    values: Matrix
    resamples: Matrix

    def estimate(self, kind: str, variable: int) -> Estimate:
        """Of one variable."""
        row = KINDS.index(kind)
        return Estimate.of(self.values[row, variable], self.resamples[row, variable])


def correlate(
    variables: Matrix, scores: Matrix, *, num_resamples: int = NUM_RESAMPLES, seed: int | Sequence[int] = 7
) -> Resampled:
    """Correlate each of the variables (C, n) with the scores (n,); every variable sees the same resamples.

    A variable that holds a NaN correlates with nothing: its values are NaN.
    """
    ranked = [_Ranks(row) for row in variables]
    ranked_scores = _Ranks(scores)
    values = _weighted(variables, ranked, scores, ranked_scores, np.ones((1, len(scores))))[..., 0]
    parts = [
        _weighted(variables, ranked, scores, ranked_scores, weights)
        for weights in _draws(len(scores), num_resamples, seed)
    ]
    resamples = np.concatenate(parts, axis=2)
    for found in (values, resamples):
        found[:, ~np.isfinite(variables).all(axis=1)] = np.nan
    return Resampled(values, resamples)


def _draws(count: int, num_resamples: int, seed: int | Sequence[int]) -> Iterator[Matrix]:
    """Yield how often each of `count` pairs was drawn, (B, count), for `num_resamples` resamples in all."""
    random = np.random.default_rng(seed)
    step = max(1, NUMBERS_AT_ONCE // count)
    for start in range(0, num_resamples, step):
        rows = min(step, num_resamples - start)
        drawn = random.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


class _Ranks:
    """The order of some numbers, and which of them are equal."""

    def __init__(self, numbers: Matrix) -> None:
        self.order = np.argsort(numbers, kind="stable")
        ordered = numbers[self.order]
        is_first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        self.starts = np.flatnonzero(is_first)
        self.group = np.cumsum(is_first) - 1

    def of(self, weights: Matrix) -> Matrix:
        """Ranks in sorted order from weights in sorted order, (B, n) both, less the mean rank."""
        counts = np.add.reduceat(weights, self.starts, axis=1)
        middle = np.cumsum(counts, axis=1) - (counts + weights.sum(axis=1, keepdims=True)) / 2
        return middle if len(self.starts) == len(self.order) else np.take(middle, self.group, axis=1)


def _weighted(
    variables: Matrix, ranked: list[_Ranks], scores: Matrix, ranked_scores: _Ranks, weights: Matrix
) -> Matrix:
    """Both correlations of every variable with the scores under each row of weights (B, n): (2, C, B)."""
    score_ranks = np.empty_like(weights)
    score_ranks[:, ranked_scores.order] = ranked_scores.of(weights[:, ranked_scores.order])
    found = np.empty((2, len(variables), len(weights)))
    for number, (variable, ranks) in enumerate(zip(variables, ranked, strict=True)):
        own = weights[:, ranks.order]
        found[0, number] = _ratio(own, ranks.of(own), score_ranks[:, ranks.order])
        found[1, number] = _pearson(weights, variable, scores)
    return found


def _pearson(weights: Matrix, first: Matrix, second: Matrix) -> Matrix:
    """(B,), from weighted sums that are one matrix product."""
    x, y = (numbers - numbers.mean() for numbers in (first.astype(np.float64), second.astype(np.float64)))
    sums = weights @ np.stack([x, y, x * x, y * y, x * y], axis=1) / len(x)
    x_mean, y_mean, x_square, y_square, product = sums.T
    return _quotient(product - x_mean * y_mean, (x_square - x_mean**2) * (y_square - y_mean**2))


def _ratio(weights: Matrix, first: Matrix, second: Matrix) -> Matrix:
    """The correlation of two (B, n) whose weighted means are 0."""
    weighted = weights * first
    product = np.einsum("bn,bn->b", weighted, second)
    squares = np.einsum("bn,bn->b", weighted, first) * np.einsum("bn,bn,bn->b", weights, second, second)
    return _quotient(product, squares)


def _quotient(product: Matrix, squares: Matrix) -> Matrix:
    # What is left of a variance that is 0 is rounding, and may even be negative.
    with np.errstate(invalid="ignore", divide="ignore"):
        found = product / np.sqrt(np.maximum(squares, 0))
    return np.where(np.abs(found) <= 1 + 1e-9, np.clip(found, -1, 1), np.nan)


def mean(parts: Sequence[Resampled], weights: Sequence[float]) -> Resampled:
    """The weighted mean over sets that were resampled independently of each other."""
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    values = np.tensordot(shares, np.stack([part.values for part in parts]), axes=1)
    return Resampled(values, np.tensordot(shares, np.stack([part.resamples for part in parts]), axes=1))
