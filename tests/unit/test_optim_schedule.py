"""Learning rates: the knots of the method sheet, warm-up, decay, and contradictions refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlpx.optim.config import OptimConfig, ScheduleConfig
from nlpx.optim.schedule import build_schedule, piecewise_linear, warmup_steps


def rates(total_steps, **schedule):
    rate = build_schedule(OptimConfig(learning_rate=2.0, schedule=schedule), total_steps=total_steps)
    return [rate(step) / 2.0 for step in range(1, total_steps + 1)]


def test_piecewise_linear_goes_through_its_points():
    factor = piecewise_linear({10: 1.0, 20: 0.1})
    expected = {0: 0.0, 5: 0.5, 10: 1.0, 15: 0.55, 20: 0.1, 99: 0.1}
    assert {step: factor(step) for step in expected} == pytest.approx(expected)


def test_a_point_at_zero_replaces_the_implied_one():
    assert piecewise_linear({0: 1.0, 4: 0.0})(1) == 0.75


def test_points_are_taken_literally():
    assert rates(8, points={0: 0, 2: 1, 6: 0}) == pytest.approx([0.5, 1, 0.75, 0.5, 0.25, 0, 0, 0])


def test_no_update_is_wasted_on_a_rate_of_zero():
    for decay in ("linear", "cosine", "constant"):
        assert min(rates(20, warmup_steps=5, decay=decay)) > 0


def test_linear_decay_ends_just_past_the_last_update():
    assert rates(5, warmup_steps=2) == pytest.approx([0.5, 1, 0.75, 0.5, 0.25])


def test_constant_after_the_warm_up():
    assert rates(5, warmup_ratio=0.4, decay="constant") == pytest.approx([0.5, 1, 1, 1, 1])


def test_cosine_is_half_way_down_in_the_middle_and_linear_going_up():
    course = rates(19, warmup_steps=4, decay="cosine")
    assert course[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert course[11] == pytest.approx(0.5)
    assert course == pytest.approx(sorted(course[:4]) + sorted(course[4:], reverse=True))


def test_a_warm_up_longer_than_the_run_only_rises():
    assert rates(4, warmup_steps=8) == pytest.approx([1 / 8, 2 / 8, 3 / 8, 4 / 8])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [({}, 0), ({"warmup_steps": 7}, 7), ({"warmup_ratio": 0.1}, 20), ({"points": {50: 1, 60: 1, 200: 0}}, 50)],
)
def test_warm_up_length(schedule, expected):
    assert warmup_steps(ScheduleConfig(**schedule), total_steps=200) == expected


@pytest.mark.parametrize(
    ("schedule", "named"),
    [
        ({"warmup_steps": 5, "warmup_ratio": 0.1}, "warmup_ratio"),
        ({"points": {10: 1}, "warmup_steps": 5}, "warmup_steps"),
        ({"points": {10: 1}, "decay": "linear"}, "decay"),
        ({"points": {0: 0, 10: 0}}, "above 0"),
        ({"points": {-1: 1}}, "points"),
        ({"warmup_ratio": 1.5}, "warmup_ratio"),
    ],
)
def test_contradictions_are_refused(schedule, named):
    with pytest.raises(ValidationError, match=named):
        ScheduleConfig(**schedule)


def test_resolved_settings_can_be_read_back():
    for schedule in (ScheduleConfig(), ScheduleConfig(points={10: 1}), ScheduleConfig(warmup_ratio=0.2)):
        assert ScheduleConfig.model_validate(schedule.model_dump()) == schedule
