"""Paired differences: intervals against SciPy and by simulation, Holm's correction, the number of seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nlpx.metrics.paired import holm, paired_difference, seeds_needed


def test_it_is_the_paired_t_test_of_scipy():
    chance = np.random.default_rng(0)
    first, second = chance.normal(size=(2, 6)).tolist()
    found, expected = paired_difference(first, second), stats.ttest_rel(second, first)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.num_pairs == 6


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_the_interval_covers_what_it_promises(num_seeds):
    """Runs differ by seed (shared by both columns) and by themselves; the true difference lies in 95 % of intervals.

    Of 2,000 intervals the number that cover is binomial, so five standard deviations allow for chance.
    """
    chance, count, difference = np.random.default_rng(num_seeds), 2000, 0.004
    shared = chance.normal(0.8, 0.02, size=(count, num_seeds))
    first = shared + chance.normal(0, 0.005, size=shared.shape)
    second = shared + difference + chance.normal(0, 0.01, size=shared.shape)
    found = [paired_difference(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    covered = sum(one.low <= difference <= one.high for one in found)
    assert abs(covered - 0.95 * count) < 5 * math.sqrt(count * 0.95 * 0.05)


def test_equal_differences_give_no_interval():
    same = paired_difference([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert (same.mean, same.low, same.p_value) == (0, None, None)
    shifted = paired_difference([0.5, 0.6, 0.7], [0.6, 0.7, 0.8])
    assert shifted.mean == pytest.approx(0.1)
    assert (shifted.low, shifted.p_value) == (None, None)


def test_one_pair_is_too_few():
    with pytest.raises(ValueError, match="two pairs"):
        paired_difference([0.5], [0.6])


def test_holm_by_hand():
    # Sorted .01 .02 .04 times 3, 2, 1: .03 .04 .04; never falling, never above one.
    assert holm([0.02, 0.01, None, 0.04]) == pytest.approx([0.04, 0.03, None, 0.04])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_false_alarms_below_its_level():
    """Four columns without any effect: in at most 5 % of comparisons one is called a difference."""
    chance, count = np.random.default_rng(1), 2000
    alarms = 0
    for scores in chance.normal(size=(count, 5, 5)).tolist():
        p_values = [paired_difference(scores[0], other).p_value for other in scores[1:]]
        alarms += min(holm(p_values)) < 0.05
    assert alarms < 0.05 * count + 5 * math.sqrt(count * 0.05 * 0.95)


@pytest.mark.parametrize(("effect", "expected"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_number_of_seeds_is_that_of_the_power_tables(effect, expected):
    """Paired t-test, two-sided, 5 %, power 80 %: as tables and programs for power analysis give it."""
    assert seeds_needed(effect, 1.0) == expected


def test_the_number_of_seeds_at_its_ends():
    assert seeds_needed(0, 1) is None
    assert seeds_needed(1e-4, 1) is None
    assert seeds_needed(100, 1) <= 3
    assert seeds_needed(0.5, 1, num_comparisons=4) > 34
