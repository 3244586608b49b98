"""What is said of a summary beside its source: copies, facts, lengths."""

from __future__ import annotations

import pytest

from nlpx.metrics.summaries import LENGTHS, copied, facts, histogram, unsupported

SOURCE = "2024年7月5日，Cube.js 发布 2.0 版，下载 1,200 次，增长３.5%。"


def test_copied_ngrams_are_counted():
    assert copied("春风来", "春风和夏雨", 1) == (2, 3)
    assert copied("春风来", "春风和夏雨", 2) == (1, 2)
    assert copied("春", "春风", 2) == (0, 0)


def test_facts_are_dates_numbers_and_latin_names():
    assert facts(SOURCE) == ["2024年7月5日", "2.0", "1200", "3.5", "cube.js"]
    assert facts("用 C++ 和 C# 写的 GPT-4") == ["c++", "c#", "gpt-4"]
    assert facts("没有") == []


@pytest.mark.parametrize(
    ("summary", "missing"),
    [
        ("7月5日 cube.js 2.0 被下载1200次", []),
        ("2024年7月发布", []),
        ("7月6日发布", ["7月6日"]),
        ("17月5日", ["17月5日"]),
        ("增长 3 成，下载 200 次", ["3", "200"]),
        ("Cube 发布", ["cube"]),
        ("增长3.5%", []),
    ],
)
def test_facts_that_the_source_lacks(summary, missing):
    assert unsupported(summary, SOURCE) == missing


def test_every_length_is_in_one_bin():
    assert histogram([0, 19, 20, 799, 800, 10_000]) == [2, 1, 0, 0, 0, 1, 2]
    assert sum(histogram(range(1000))) == 1000
    assert LENGTHS[0] == 0
