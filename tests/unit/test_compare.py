"""The parts of a comparison without training: the grid, what is said of a difference, the page."""

from __future__ import annotations

import pytest

from nlpx.jobs.compare.grid import read_grid
from nlpx.jobs.compare.summary import _compare_with_first
from nlpx.jobs.finetune.config import Config
from nlpx.report.comparison import page


def test_a_grid_is_all_combinations_with_the_first_values_first():
    columns = read_grid(["tricks=none,ema + r_drop,[{ema: {decay: 0.9, warmup: 1}}]", "train.epochs=1,2"], Config)
    assert [column.overrides for column in columns[:4]] == [
        ("tricks=[]", "train.epochs=1"),
        ("tricks=[]", "train.epochs=2"),
        ("tricks=[ema, r_drop]", "train.epochs=1"),
        ("tricks=[ema, r_drop]", "train.epochs=2"),
    ]
    assert len(columns) == 6
    assert columns[4].overrides[0] == "tricks=[{ema: {decay: 0.9, warmup: 1}}]"
    assert len({column.folder for column in columns}) == 6


def compared(*scores: list[float | None]) -> list[dict[str, object]]:
    """Columns as the runs give them, compared with the first."""
    columns = [
        {
            "name": f"column {number}",
            "scores": own,
            "num_runs": sum(score is not None for score in own),
            "mean": None if None in own else sum(own) / len(own),
            "deviation": 0.01,
            "seconds": 2.0 + number,
            "memory": 100.0,
        }
        for number, own in enumerate(scores)
    ]
    _compare_with_first(columns)
    return columns


@pytest.mark.parametrize(
    ("scores", "verdict", "words"),
    [
        ([0.9, 0.91, 0.89, 0.9], "better", "is better than column 0 by 0.1000"),
        ([0.7, 0.71, 0.69, 0.7], "worse", "is worse than column 0 by 0.1000"),
        ([0.82, 0.77, 0.83, 0.8], "within noise", "seeds would show a difference of this size in 80% of comparisons"),
        ([0.8, 0.805, 0.8, 0.795], "no difference", "scores exactly as column 0 with every seed"),
        ([0.9, None, None, None], "too few runs", "nothing can be said"),
    ],
)
def test_what_is_said_of_a_difference(scores, verdict, words):
    column = compared([0.8, 0.805, 0.8, 0.795], scores)[1]
    assert column["verdict"] == verdict
    assert words in column["sentence"]


def test_time_is_a_ratio_to_the_first_column():
    assert [column["seconds_ratio"] for column in compared([0.5, 0.6], [0.5, 0.7], [0.5, 0.8])] == [1, 1.5, 2]


def test_a_seed_without_a_result_is_left_out_of_its_pair():
    first, second = compared([0.8, None, 0.7, 0.75], [0.9, 0.1, 0.81, 0.85])
    assert (first["num_runs"], second["difference"]["num_pairs"]) == (3, 3)
    assert second["difference"]["mean"] == pytest.approx((0.1 + 0.11 + 0.1) / 3)


def test_the_page_escapes_names_and_counts_failures():
    columns = compared([0.8, 0.81], [0.82, None])
    columns[1]["name"] = "a<b"
    found = {
        "task": "classify",
        "score": "accuracy",
        "split": "dev",
        "level": 0.95,
        "seeds": [1, 2],
        "columns": columns,
        "failed": {"runs/a": "the loss is not finite"},
        "remark": "Scores are those of the dev rows.",
    }
    shown = page(found)
    assert "a&lt;b" in shown
    assert "1 of 2" in shown
    assert "runs/a: the loss is not finite" in shown
