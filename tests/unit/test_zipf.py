"""The fitted exponent: exact power laws give theirs, whatever the length, and the plot is a picture."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from nlpx.report.zipf import SMALLEST_COUNT, Point, fit_zipf, log_spaced, plot_zipf


@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.37])
@pytest.mark.parametrize("num_ranks", [30, 5_000, 80_000])
def test_an_exact_power_law(exponent, num_ranks):
    scale = 10**15  # so large that rounding to whole counts is nothing
    fit = fit_zipf(log_spaced(round(scale / rank**exponent) for rank in range(1, num_ranks + 1)))
    assert fit is not None
    assert fit.exponent == pytest.approx(exponent, abs=1e-6)
    assert fit.log_scale == pytest.approx(math.log(scale), abs=1e-5)
    assert fit.last_rank == num_ranks
    assert fit.count_at(10) == pytest.approx(scale / 10**exponent, rel=1e-5)


def test_the_stairs_of_rare_words_do_not_count():
    counts = [max(1, round(20_000 / rank)) for rank in range(1, 200_000)]
    fit = fit_zipf(log_spaced(counts))
    assert fit is not None
    assert fit.exponent == pytest.approx(1.0, abs=0.01)
    assert counts[fit.last_rank - 1] >= SMALLEST_COUNT


def test_a_sample_of_a_power_law():
    chance = random.Random(5)
    weights = [1 / rank for rank in range(1, 2001)]
    drawn = chance.choices(range(2000), weights, k=200_000)
    tally = [0] * 2000
    for number in drawn:
        tally[number] += 1
    fit = fit_zipf(log_spaced(sorted(tally, reverse=True)))
    assert fit is not None
    assert fit.exponent == pytest.approx(1.0, abs=0.05)


def test_points_are_few_evenly_spaced_and_hold_both_ends():
    points = log_spaced(range(100_000, 0, -1))
    assert points[0] == Point(1, 100_000)
    assert points[-1] == Point(100_000, 1)
    assert len(points) < 110
    steps = [math.log10(after.rank / before.rank) for before, after in pairwise(points[40:-1])]
    assert max(steps) < 0.06
    assert log_spaced([]) == []
    assert log_spaced([7]) == [Point(1, 7)]


def test_too_little_to_fit():
    assert fit_zipf([]) is None
    assert fit_zipf(log_spaced([9, 8, 1, 1, 1])) is None
    assert fit_zipf(log_spaced([9, 8, 7])) is not None


def test_the_plot_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    points = log_spaced(round(10_000 / rank) for rank in range(1, 3000))
    assert plot_zipf(points, fit_zipf(points), tmp_path / "new" / "zipf.png")
    assert (tmp_path / "new" / "zipf.png").read_bytes().startswith(b"\x89PNG")
    assert plot_zipf(log_spaced([3]), None, tmp_path / "one.png")
    assert not plot_zipf([], None, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
