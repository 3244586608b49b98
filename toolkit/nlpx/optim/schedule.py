"""Learning rates over a run: piecewise linear through given points, or warm-up and decay.

Updates are counted from 1: update `t` uses `rate(t)`, so that a warm-up from 0 does not waste the first
update. For the same reason a decay reaches 0 one past the last update.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping

from nlpx.optim.config import OptimConfig, ScheduleConfig

Schedule = Callable[[int], float]


def build_schedule(config: OptimConfig, *, total_steps: int) -> Schedule:
    """The learning rate of each update, counted from 1."""
    factor = _factor(config.schedule, total_steps)
    return lambda step: config.learning_rate * factor(step)


def piecewise_linear(points: Mapping[int, float]) -> Schedule:
    """Linear between the points, constant after the last; (0, 0) is implied unless there is a point at 0.

    The rule of bert4keras' `extend_with_piecewise_linear_lr`.
    """
    knots = sorted(({0: 0.0} | dict(points)).items())
    steps = [step for step, _ in knots]

    def factor(step: int) -> float:
        after = bisect_right(steps, step)
        if after == len(knots):
            return knots[-1][1]
        (left, low), (right, high) = knots[after - 1], knots[after]
        return low + (high - low) * (step - left) / (right - left)

    return factor


def warmup_steps(config: ScheduleConfig, *, total_steps: int) -> int:
    """How many updates the rate rises; with `points`, up to the first point of the highest factor."""
    if config.points is not None:
        return max(config.points, key=lambda step: (config.points[step], -step))  # type: ignore[index]
    if config.warmup_ratio is not None:
        return round(config.warmup_ratio * total_steps)
    return config.warmup_steps or 0


def _factor(config: ScheduleConfig, total_steps: int) -> Schedule:
    if config.points is not None:
        return piecewise_linear(config.points)
    warmup, end = warmup_steps(config, total_steps=total_steps), total_steps + 1
    if config.decay == "constant" or warmup >= end:
        return piecewise_linear({warmup: 1.0})
    linear = piecewise_linear({warmup: 1.0, end: 0.0})
    if config.decay == "cosine":
        return lambda step: linear(step) if step <= warmup else 0.5 - 0.5 * math.cos(math.pi * linear(step))
    return linear
