"""How well chains have mixed and how varied their texts are, from a figure traced along each chain and from the texts.

Autocorrelation time: 1 + 2 sum of autocorrelations, truncated where the sum of two neighbours is no longer positive
(Geyer 1992, Practical Markov Chain Monte Carlo). Agreement: split R-hat (Gelman and others, Bayesian Data Analysis, 3rd
edition): 1 where the halves of all chains agree, and above 1.1 where they plainly do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST = 4  # values; of a shorter trace no autocorrelation is estimated
# From a trace shorter than this many times its autocorrelation time, the time itself comes out far too small.
LONG_ENOUGH = 50
APART = 1.1  # R-hat from which on chains have plainly not met


def distinct(texts: Sequence[Sequence[int]], size: int) -> float | None:
    """Different n-grams of `size` tokens as a fraction of all of them (arXiv 1510.03055); None if there are none."""
    grams = [tuple(text[start : start + size]) for text in texts for start in range(len(text) - size + 1)]
    return len(set(grams)) / len(grams) if grams else None


def autocorrelation(trace: Sequence[float]) -> NDArray[np.float64]:
    """Correlation of a trace (N,) with itself, shifted by 0 to N - 1; all 0 beyond 0 for a constant one."""
    values = np.asarray(trace, dtype=np.float64)
    centred = values - values.mean()
    spectrum = np.fft.rfft(centred, 2 * len(values))
    sums = np.fft.irfft(spectrum * spectrum.conj())[: len(values)]
    if sums[0] <= len(values) * np.finfo(np.float64).eps * max(1.0, float(np.square(values).mean())):
        return np.eye(1, len(values)).ravel()
    correlations: NDArray[np.float64] = sums / sums[0]
    return correlations


def autocorrelation_time(trace: Sequence[float]) -> float | None:
    """Values of the trace per independent value, at least 1; None for a trace that is too short or constant."""
    if len(trace) < FEWEST or max(trace) == min(trace):
        return None
    found = autocorrelation(trace)
    pairs = found[: len(found) // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    positive = pairs[: ends[0]] if len(ends) else pairs
    return max(1.0, float(2 * np.minimum.accumulate(positive).sum() - 1)) if len(positive) else 1.0


def effective_sample_size(trace: Sequence[float]) -> float | None:
    """The effective sample size: independent values that would estimate the mean as precisely as this trace."""
    time = autocorrelation_time(trace)
    return None if time is None else len(trace) / time


def split_r_hat(traces: Sequence[Sequence[float]]) -> float | None:
    """Agreement of chains: the spread of all values over that within half chains; None for too few values."""
    shortest = min((len(trace) for trace in traces), default=0)
    if len(traces) < 2 or shortest < FEWEST:
        return None
    half = shortest // 2
    parts = np.array([part for trace in traces for part in (trace[:half], trace[shortest - half : shortest])])
    within = parts.var(axis=1, ddof=1).mean()
    between = half * parts.mean(axis=1).var(ddof=1)
    if within == 0:
        return 1.0 if between == 0 else math.inf
    return math.sqrt(((half - 1) / half * within + between / half) / within)


def summary(
    traces: Sequence[Sequence[float]], texts: Sequence[Sequence[int]], *, changed: Sequence[float]
) -> dict[str, Any]:
    """Everything at once: traces by chain after the burn-in, the texts printed, fractions of changes by chain."""
    sizes = [size for trace in traces if (size := effective_sample_size(trace)) is not None]
    times = [time for trace in traces if (time := autocorrelation_time(trace)) is not None]
    r_hat = split_r_hat(traces)
    why_not = reasons(traces, r_hat)
    values = [value for trace in traces for value in trace]
    return {
        "texts": len(texts),
        "distinct_texts": len({tuple(text) for text in texts}),
        "pseudo_log_likelihood": math.fsum(values) / len(values) if values else None,
        "changed": math.fsum(changed) / len(changed) if changed else None,
        "autocorrelation_time": math.fsum(times) / len(times) if times else None,
        "effective_sample_size": None if "effective_sample_size" in why_not else math.fsum(sizes),
        "r_hat": r_hat,
        **{f"distinct_{size}": distinct(texts, size) for size in (1, 2, 3)},
        "why_not": why_not,
    }


def reasons(traces: Sequence[Sequence[float]], r_hat: float | None) -> dict[str, str]:
    """Why a figure would mean nothing, by its name: disagreeing chains, traces too short, constant ones."""
    found: dict[str, str] = {}
    if r_hat is None:
        what = "one chain has none to agree with" if len(traces) < 2 else f"fewer than {FEWEST} states of a chain"
        found["r_hat"] = what
    times = [autocorrelation_time(trace) for trace in traces]
    known = [(len(trace), time) for trace, time in zip(traces, times, strict=True) if time is not None]
    if not known:
        found["effective_sample_size"] = f"fewer than {FEWEST} states of a chain, or all alike"
    elif r_hat is not None and r_hat > APART:
        found["effective_sample_size"] = f"the chains disagree (r_hat {r_hat:.3g}): they sample different things"
    elif any(size < LONG_ENOUGH * time for size, time in known):
        size, time = max(known, key=lambda pair: pair[1] / pair[0])
        found["effective_sample_size"] = (
            f"{size} states are too few for an autocorrelation time of {time:.3g}: take {LONG_ENOUGH} times as many"
        )
    return found
