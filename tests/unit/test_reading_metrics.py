"""Answers against accepted ones: WebQA's measures and those of CMRC's scorer, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpx.metrics.reading import character_f1, cmrc_overlap, evaluate, is_accepted, longest_common_run, plain


def test_width_case_marks_and_blanks_do_not_count():
    assert plain("《ＡＢＣ》 １２、三！") == "abc12三"
    assert is_accepted("《三国》", ["水浒", "三国"])
    assert is_accepted("海口,三亚", ["三亚 海口"])  # its parts, in another order
    assert not is_accepted("海口三亚", ["三亚 海口"])
    assert not is_accepted("三国志", ["三国"])


@pytest.mark.parametrize(
    ("prediction", "answers", "f1"),
    [
        ("三国", ["三国志"], 2 * 2 / 5),
        ("春春", ["春"], 2 / 3),  # characters as multisets
        ("三国", ["水浒", "三国演义"], 2 * 2 / 6),  # the best of the accepted ones
        ("三国", ["水浒"], 0),
        ("", ["水浒"], 0),
        ("", [""], 1),
        ("。", [""], 1),
        ("水", [""], 0),
    ],
)
def test_character_f1(prediction, answers, f1):
    assert character_f1(prediction, answers) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("prediction", "answer", "f1"),
    [
        ("在1982年3月", "1982年3月", 2 * 4 / 9),  # 在 1982 年 3 月: numbers are one segment
        ("春夏秋", "春秋", 2 / 5),  # a common substring, not a subsequence
        ("MS-DOS", "ms dos", 0),  # a hyphen is left out: one word against two
        ("", "", 1),
    ],
)
def test_the_overlap_of_cmrc(prediction, answer, f1):
    assert cmrc_overlap(prediction, answer) == pytest.approx(f1)


@given(st.text("春夏秋", max_size=12), st.text("春夏秋", max_size=12))
def test_the_longest_common_run(first, second):
    runs = [first[a:b] for a in range(len(first)) for b in range(a + 1, len(first) + 1)]
    assert longest_common_run(first, second) == max((len(run) for run in runs if run in second), default=0)


def test_the_score_is_the_mean_of_both():
    assert pytest.approx(0.7698803102) == (0.7259005836 + 0.8138600367) / 2
    record = evaluate(["三国", "海", "", ""], [["三国"], ["海口"], ["春"], []])
    assert record["accuracy"] == pytest.approx((1 + 0 + 0 + 1) / 4)
    assert record["f1"] == pytest.approx((1 + 2 / 3 + 0 + 1) / 4)
    assert record["score"] == pytest.approx((record["accuracy"] + record["f1"]) / 2)
    assert record["cmrc"]["average"] == pytest.approx((record["cmrc"]["exact_match"] + record["cmrc"]["f1"]) / 2)
    assert (record["rows"], record["unanswerable"], record["empty"]) == (4, 1, 2)
    assert evaluate([], [])["score"] == 0
