"""Figures of many classes against scikit-learn, and what the report says of them."""

from __future__ import annotations

import random

import pytest

from nlpx.metrics.classes import evaluate
from nlpx.report.classes import rows, tables


def shown(record):
    return "\n\n".join(table.markdown() for table in tables(record))


LABELS = ("甲", "乙", "丙", "丁")


def drawn(count: int, *, unknown: bool = False) -> tuple[list[str], list[float], list[str]]:
    chance = random.Random(count)
    truth = chance.choices(
        [*LABELS[:3], *(["戊"] if unknown else [])], weights=[9, 4, 1, *([2] if unknown else [])], k=count
    )
    answers = [label if chance.random() < 0.6 and label in LABELS else chance.choice(LABELS[:2]) for label in truth]
    return answers, [chance.random() for _ in truth], truth  # fmt: skip


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("count", [1, 30, 400])
def test_the_figures_are_those_of_scikit_learn(count: int, unknown: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is an extra")
    answers, probabilities, truth = drawn(count, unknown=unknown)
    record = evaluate(answers, probabilities, truth, known=LABELS)
    assert record["score"] == pytest.approx(metrics.accuracy_score(truth, answers), abs=1e-12)
    for figure, name in (("f1", "f1"), ("precision", "precision"), ("recall", "recall")):
        score = getattr(metrics, f"{name}_score")
        macro = score(truth, answers, average="macro", zero_division=0)
        assert record[f"macro_{figure}"] == pytest.approx(macro, abs=1e-12)
        weighted = score(truth, answers, average="weighted", zero_division=0)
        assert record[f"weighted_{figure}"] == pytest.approx(weighted, abs=1e-12)
        each = score(truth, answers, average=None, labels=list(record["classes"]), zero_division=0)
        assert [values[figure] for values in record["classes"].values()] == pytest.approx(list(each), abs=1e-12)
    assert sum(values["support"] for values in record["classes"].values()) == count


def test_by_hand() -> None:
    record = evaluate(
        ["甲", "甲", "乙", "乙"], [0.9, 0.9, 0.8, 0.6], ["甲", "乙", "乙", "戊"], known=["乙", "甲", "丙"]
    )
    assert list(record["classes"]) == ["乙", "甲", "丙", "戊"]  # the given order, and what nobody trained on at the end
    assert record["classes"]["甲"] == {"f1": 2 / 3, "precision": 0.5, "recall": 1.0, "support": 1, "answers": 2}
    assert record["classes"]["戊"] == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "support": 1, "answers": 0}
    assert (record["score"], record["score_is"], record["rows"]) == (0.5, "accuracy", 4)
    assert record["macro_f1"] == pytest.approx((2 / 3 + 0.5 + 0.0) / 3)  # 丙 occurs nowhere
    assert record["confused"] == [
        {"label": "乙", "answer": "甲", "count": 1},
        {"label": "戊", "answer": "乙", "count": 1},
    ]
    assert [(row["bin"], row["positive_share"], row["count"]) for row in record["reliability"]] == [
        (6, 0.0, 1),
        (8, 1.0, 1),
        (9, 0.5, 2),
    ]
    assert rows(record)[-1]["accuracy"] == 0.5


def test_nothing_to_judge_scores_nothing() -> None:
    record = evaluate([], [], [], known=["甲", "乙"])
    assert (record["score"], record["macro_f1"], record["calibration_error"], record["rows"]) == (0.0, 0.0, 0.0, 0)


def test_the_tables_of_the_report() -> None:
    text = shown(evaluate(["甲", "甲"], [0.9, 0.9], ["甲", "乙|"], known=["甲", "乙|"]))
    lines = text.splitlines()
    assert lines[0] == "| label              |     F1 | precision | recall | accuracy | rows |"
    assert lines[2].startswith("| 甲                 | 0.6667 |    0.5000 | 1.0000 |        – |    1 |")
    assert lines[3].startswith("| 乙\\|")
    assert lines[4].startswith("| mean by rows       | 0.3333 |    0.2500 | 0.5000 |        – |    2 |")
    assert lines[5].startswith("| mean of the labels | 0.3333 |    0.2500 | 0.5000 |   0.5000 |    2 |")
    assert lines[-1] == "| 乙\\|  | 甲     |    1 |"
    right = shown(evaluate(["甲"], [0.9], ["甲"], known=["甲"]))
    assert "mistakes" not in right
