"""Diagnostics against processes whose figures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nlpx.decode.gibbs import diagnostics
from nlpx.report.sampling import mean_trace, plot_chains


def autoregressive(coefficient: float, length: int, seed: int = 0) -> list[float]:
    random = np.random.default_rng(seed)
    values = [random.normal() / math.sqrt(1 - coefficient**2)]
    for _ in range(length - 1):
        values.append(coefficient * values[-1] + random.normal())
    return values


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9])
def test_the_autocorrelation_time_of_an_autoregression(coefficient):
    """It is (1 + a) / (1 - a)."""
    trace = autoregressive(coefficient, 20000)
    expected = (1 + coefficient) / (1 - coefficient)
    assert diagnostics.autocorrelation_time(trace) == pytest.approx(expected, rel=0.12)
    assert diagnostics.effective_sample_size(trace) == pytest.approx(20000 / expected, rel=0.12)
    for lag in (1, 2):
        assert diagnostics.autocorrelation(trace)[lag] == pytest.approx(coefficient**lag, abs=0.03)


def test_autocorrelation_is_the_textbook_sum():
    trace = autoregressive(0.6, 50)
    centred = np.array(trace) - np.mean(trace)
    expected = [float((centred[: 50 - lag] * centred[lag:]).sum() / (centred**2).sum()) for lag in range(50)]
    np.testing.assert_allclose(diagnostics.autocorrelation(trace), expected, atol=1e-12)


def test_traces_that_say_nothing():
    assert diagnostics.autocorrelation_time([1.0, 2.0, 3.0]) is None
    assert diagnostics.autocorrelation_time([2.0] * 50) is None
    assert diagnostics.autocorrelation([2.0] * 5).tolist() == [1, 0, 0, 0, 0]
    assert diagnostics.split_r_hat([[1.0] * 9]) is None
    assert diagnostics.split_r_hat([]) is None
    assert diagnostics.split_r_hat([[1.0] * 9] * 2) == 1
    assert diagnostics.split_r_hat([[1.0] * 9, [2.0] * 9]) == math.inf


def test_agreement_of_chains():
    agreeing = [autoregressive(0.3, 2000, seed) for seed in range(4)]
    assert diagnostics.split_r_hat(agreeing) == pytest.approx(1, abs=0.01)
    apart = [[value + 2 * number for value in trace] for number, trace in enumerate(agreeing)]
    assert diagnostics.split_r_hat(apart) > 1.5
    drifting = [[value + 3 * step / 2000 for step, value in enumerate(trace)] for trace in agreeing]
    assert diagnostics.split_r_hat(drifting) > 1.1  # the halves differ, though the chains agree


def test_agreement_by_hand():
    """Halves [1 2] [3 4] [2 4] [4 6]: within 1.25; between 2 * 25 / 12; (1.25 / 2 + 25 / 12) / 1.25 is 13 / 6."""
    expected = pytest.approx(math.sqrt(13 / 6))
    assert diagnostics.split_r_hat([[1, 2, 3, 4], [2, 4, 4, 6]]) == expected
    # A middle value belongs to neither half, and what one chain has more than the shortest is left out.
    assert diagnostics.split_r_hat([[1, 2, 50, 3, 4], [2, 4, -7, 4, 6, 99, 99]]) == expected


@pytest.mark.parametrize(
    ("correlations", "time"),
    [
        ([1, 0.5, 0.3, 0.1, -0.2, 0.1, 0.4, 0.4], 2.8),  # pairs 1.5 and 0.4; the next is negative, and the end
        ([1, 0.5, 0.1, -0.1, 0.3, 0.3], 2.0),  # the second pair is 0: no longer positive
        ([1, 0.2, 0.1, 0.1, 0.5, 0.3], 2.2),  # 1.2, 0.2 and 0.8: a pair is taken as no larger than those before it
        ([1, 0.5, 0.2, 0.2, 0.9], 2.8),  # an odd one at the end has no neighbour
        ([1, -0.9, 0.5, 0.5], 1.0),  # values that alternate tell no more than independent ones, as it is counted here
        ([1, -1, 1, -1], 1.0),
    ],
)
def test_where_the_autocorrelations_are_cut(monkeypatch, correlations, time):
    monkeypatch.setattr(diagnostics, "autocorrelation", lambda trace: np.array(correlations))
    assert diagnostics.autocorrelation_time(range(len(correlations))) == pytest.approx(time)


def test_distinct():
    texts = [[1, 2, 1, 2], [1, 2, 3]]
    assert diagnostics.distinct(texts, 1) == pytest.approx(3 / 7)
    assert diagnostics.distinct(texts, 2) == pytest.approx(3 / 5)
    assert diagnostics.distinct(texts, 3) == 1
    assert diagnostics.distinct(texts, 5) is None


def test_the_summary():
    traces = [autoregressive(0.5, 400, seed) for seed in range(3)]
    texts = [[1, 2], [1, 2], [3, 4]]
    found = diagnostics.summary(traces, texts, changed=[0.2, 0.4])
    sizes = [diagnostics.effective_sample_size(trace) for trace in traces]
    assert found["effective_sample_size"] == pytest.approx(sum(sizes))
    assert (found["texts"], found["distinct_texts"], found["distinct_2"]) == (3, 2, pytest.approx(2 / 3))
    assert found["changed"] == pytest.approx(0.3)
    assert found["pseudo_log_likelihood"] == pytest.approx(np.mean(traces))
    assert diagnostics.summary([], [], changed=[])["pseudo_log_likelihood"] is None


def test_the_plot(tmp_path):
    pytest.importorskip("matplotlib")
    traces = {0: ([10, 20, 30], [-3.0, -2.0, -2.5]), 1: ([10, 20, 30], [-5.0, -3.0, -2.5])}
    assert plot_chains(traces, tmp_path / "a.png", first_shown=20)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert not plot_chains({0: ([], [])}, tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_the_mean_of_chains():
    assert mean_trace([([1, 2], [0.0, 4.0]), ([2, 3], [6.0, 8.0])]) == {2: 5.0}
    assert mean_trace([([1], [1.0]), ([2], [3.0])]) == {1: 1.0, 2: 3.0}


def _walk(size: int, seed: int, *, keep: float = 0.0, mean: float = 0.0) -> list[float]:
    chance, value, walk = np.random.default_rng(seed), 0.0, []
    for _ in range(size):
        value = keep * value + chance.standard_normal()
        walk.append(mean + value)
    return walk


def test_an_effective_sample_size_stands_only_where_it_means_something():
    good = diagnostics.summary([_walk(400, seed) for seed in (1, 2, 3)], [], changed=[])
    assert good["effective_sample_size"] is not None
    assert good["why_not"] == {}
    apart = diagnostics.summary([_walk(400, seed, mean=5.0 * seed) for seed in (1, 2, 3)], [], changed=[])
    assert apart["effective_sample_size"] is None
    assert apart["r_hat"] > 1.1
    assert "the chains disagree" in apart["why_not"]["effective_sample_size"]
    short = diagnostics.summary([_walk(100, seed, keep=0.9) for seed in (1, 2)], [], changed=[])
    assert short["effective_sample_size"] is None
    alone = diagnostics.summary([_walk(400, 1)], [], changed=[])
    assert alone["effective_sample_size"] is not None
    assert alone["why_not"] == {"r_hat": "one chain has none to agree with"}
    nothing = diagnostics.summary([[1.0, 2.0], [2.0, 1.0]], [], changed=[])
    assert nothing["why_not"].keys() == {"r_hat", "effective_sample_size"}
