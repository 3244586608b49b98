"""Paired differences over seeds: Student's interval, Holm's correction, and how many seeds would show a difference.

Over a handful of seeds only Student's t covers what it promises; a bootstrap over rows leaves out how much training
itself varies, and one over few seeds is too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

LEVEL = 0.95  # of the intervals
POWER = 0.8  # the chance to show a difference that is there, of `seeds_needed`
MOST_SEEDS = 10_000  # beyond this nobody trains


@dataclass(frozen=True, slots=True)
class Difference:
    """Of pairs (b - a): mean, sample deviation, interval and two-sided p-value.

    `low`, `high` and `p_value` are None where all differences are equal: a deviation of zero tells of too few pairs or
    of scores too coarse, and would make any difference certain.
    """

    num_pairs: int
    mean: float
    deviation: float
    low: float | None
    high: float | None
    p_value: float | None


def paired_difference(first: Sequence[float], second: Sequence[float], *, level: float = LEVEL) -> Difference:
    """Of `second` over `first`, pair by pair, by Student's t. Raises ValueError for fewer than two pairs."""
    from scipy import stats

    differences = [b - a for a, b in zip(first, second, strict=True)]
    if len(differences) < 2:
        raise ValueError("an interval needs two pairs at least")
    count, mean, deviation = len(differences), fmean(differences), stdev(differences)
    largest = max(map(abs, (*first, *second)))
    if deviation <= 1e-12 * largest:  # what subtraction leaves of equal differences
        return Difference(count, mean, 0.0, None, None, None)
    error = deviation / math.sqrt(count)
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, count - 1))
    return Difference(count, mean, deviation, mean - half, mean + half, p_value)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values (Scandinavian Journal of Statistics 6, 1979), in the order given; None stays None.

    Rejecting those below a level keeps the chance of any false rejection below it, whatever their dependence.
    """
    given = sorted((value, index) for index, value in enumerate(p_values) if value is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (value, index) in enumerate(given):
        largest = max(largest, min(1.0, value * (len(given) - rank)))
        adjusted[index] = largest
    return adjusted


def seeds_needed(
    mean: float, deviation: float, *, num_comparisons: int = 1, level: float = LEVEL, power: float = POWER
) -> int | None:
    """Pairs with which a t-test shows a difference of this mean and deviation with that power; None beyond MOST_SEEDS.

    The test is the strictest of Holm's, at (1 - level) / `num_comparisons`; its power is that of the noncentral t.
    """
    if mean == 0 or deviation <= 0:
        return None
    effect, alpha = abs(mean) / deviation, (1 - level) / num_comparisons
    low, high = 1, 2
    while _power(effect, high, alpha) < power:  # doubled, since far beyond the power SciPy's distribution gives out
        if high >= MOST_SEEDS:
            return None
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, middle, alpha) >= power else (middle, high)
    return high


def _power(effect: float, count: int, alpha: float) -> float:
    from scipy import stats

    limit, shift = stats.t.ppf(1 - alpha / 2, count - 1), effect * math.sqrt(count)
    return float(stats.nct.sf(limit, count - 1, shift))  # the tail on the other side adds nothing where power is high
