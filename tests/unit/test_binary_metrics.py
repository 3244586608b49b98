"""Figures of a yes-or-no classifier, by hand and against scikit-learn."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import numpy
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from nlpx.metrics.binary import best_threshold, calibration_error, confusion, decide, figures, reliability
from nlpx.metrics.sohu import evaluate


def draw(seed: int, count: int = 400) -> tuple[list[float], list[int], list[int]]:
    generator = random.Random(seed)
    labels = [int(generator.random() < 0.3) for _ in range(count)]
    probabilities = [min(1.0, max(0.0, generator.gauss(0.35 + 0.25 * label, 0.25))) for label in labels]
    return probabilities, labels, [generator.randrange(6) for _ in range(count)]


def test_hand_example_of_the_contest_score() -> None:
    # A: both right, F1 1. B: one false alarm, one miss, F1 0.
    result = evaluate([0.9, 0.1, 0.8, 0.2], [1, 0, 0, 1], [0, 2, 1, 3])
    assert (result["A"]["f1"], result["B"]["f1"], result["score"]) == (1.0, 0.0, 0.5)
    assert result["score_is"] == "mean of F1 A and F1 B"
    assert result["confusion"]["ssB"] == {
        "true_positive": 0,
        "false_positive": 1,
        "false_negative": 0,
        "true_negative": 0,
    }


def test_one_criterion_alone_is_the_score_and_says_so() -> None:
    only_a = evaluate([0.9, 0.9], [1, 0], [0, 4])
    assert only_a["score"] == only_a["A"]["f1"] == pytest.approx(2 / 3)
    assert only_a["B"] is None
    assert only_a["score_is"] == "F1 A (no pairs of B)"
    assert evaluate([0.9], [1], [5])["score_is"] == "F1 B (no pairs of A)"
    assert evaluate([], [], [])["score_is"] == "nothing to score"


def test_criteria_pool_rows_rather_than_average_variants() -> None:
    result = evaluate([0.9] * 3 + [0.1], [1, 1, 1, 1], [0, 0, 0, 2])
    assert result["variants"]["ssA"]["f1"] == 1.0
    assert result["variants"]["slA"]["f1"] == 0.0
    assert result["A"]["f1"] == pytest.approx(6 / 7)


def test_each_criterion_has_its_own_threshold() -> None:
    result = evaluate([0.4, 0.4], [1, 1], [0, 1], thresholds={"A": 0.3, "B": 0.5})
    assert (result["A"]["f1"], result["B"]["f1"]) == (1.0, 0.0)
    assert result["thresholds"] == {"A": 0.3, "B": 0.5}


def test_a_probability_at_the_threshold_is_positive() -> None:
    assert decide([0.5, 0.25, 0.75]) == [1, 0, 1]
    assert decide([0.5, 0.25, 0.75], threshold=0.25) == [1, 1, 1]
    assert decide([0.5, 0.25, 0.75], threshold=0.75) == [0, 0, 1]
    result = evaluate([0.5, 0.25], [1, 1], [0, 1], thresholds={"A": 0.5, "B": 0.25})
    assert (result["A"]["f1"], result["B"]["f1"]) == (1.0, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_those_of_scikit_learn(seed: int) -> None:
    probabilities, labels, variants = draw(seed)
    predicted = decide(probabilities, threshold=0.45)
    result = evaluate(probabilities, labels, variants, thresholds={"A": 0.45, "B": 0.45})
    for index, name in enumerate(("ssA", "ssB", "slA", "slB", "llA", "llB")):
        chosen = [row for row, variant in enumerate(variants) if variant == index]
        truth, guess = [labels[row] for row in chosen], [predicted[row] for row in chosen]
        figures = result["variants"][name]
        assert figures["f1"] == pytest.approx(metrics.f1_score(truth, guess))
        assert figures["precision"] == pytest.approx(metrics.precision_score(truth, guess))
        assert figures["recall"] == pytest.approx(metrics.recall_score(truth, guess))
        assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess))
        assert (figures["support"], figures["positives"]) == (len(chosen), sum(truth))
    even = [row for row, variant in enumerate(variants) if variant % 2 == 0]
    assert result["A"]["f1"] == pytest.approx(
        metrics.f1_score([labels[row] for row in even], [predicted[row] for row in even])
    )
    counted = confusion(predicted, labels)
    expected = metrics.confusion_matrix(labels, predicted).ravel().tolist()
    assert list(counted.values()) == expected


def test_nothing_positive_is_zero_not_an_error() -> None:
    assert figures([0, 0], [0, 0])["f1"] == 0.0
    assert figures([], [])["accuracy"] == 0.0
    assert confusion([], [])["true_negative"] == 0
    with pytest.raises(ValueError, match="inconsistent"):
        figures([1], [1, 0])


@pytest.mark.parametrize("seed", range(3))
def test_best_threshold_reaches_the_best_f1_of_all(seed: int) -> None:
    probabilities, labels, _ = draw(seed, count=120)
    reached = figures(decide(probabilities, threshold=best_threshold(probabilities, labels)), labels)["f1"]
    candidates = [*probabilities, 0.5, 1.1]
    assert reached == max(figures(decide(probabilities, threshold=candidate), labels)["f1"] for candidate in candidates)


def test_best_threshold_at_the_edges() -> None:
    assert best_threshold([0.9, 0.2], [1, 0]) == 0.5  # any value between is as good: stay at 0.5
    assert best_threshold([0.4, 0.2], [1, 0]) == pytest.approx(0.3)
    assert best_threshold([0.6, 0.6, 0.6], [1, 0, 1]) == 0.5
    assert best_threshold([0.6, 0.7], [0, 0]) == 0.5
    assert best_threshold([], []) == 0.5
    assert best_threshold([0.5, 0.25], [1, 0]) == 0.5
    assert best_threshold([0.75, 0.5], [1, 0]) == 0.625  # at 0.5 the second would count as positive


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_best_threshold_parts_neighbours(steps: int) -> None:
    """Between adjacent floats no number lies midway: what it rounds to must not be the lower one."""
    low = 0.7
    for _ in range(4):
        high = low
        for _ in range(steps):
            high = math.nextafter(high, 1)
        assert decide([high, low], threshold=best_threshold([high, low], [1, 0])) == [1, 0]
        low = math.nextafter(low, 1)


def test_reliability_equals_scikit_learn() -> None:
    probabilities, labels, _ = draw(7, count=1000)
    bins = reliability(probabilities, labels)
    shares, means = calibration_curve(labels, probabilities, n_bins=10)
    assert numpy.allclose([row["positive_share"] for row in bins], shares)
    assert numpy.allclose([row["mean_probability"] for row in bins], means)
    assert sum(row["count"] for row in bins) == 1000


def test_calibration_error_by_hand() -> None:
    bins = reliability([0.15, 0.15, 1.0, 0.95], [0, 1, 1, 1])
    assert [(row["bin"], row["count"]) for row in bins] == [(1, 2), (9, 2)]
    assert calibration_error(bins) == pytest.approx(0.5 * 0.35 + 0.5 * 0.025)
    assert calibration_error([]) == 0.0


def test_record_is_plain_json() -> None:
    import json

    probabilities, labels, variants = draw(1)
    record = evaluate(probabilities, labels, variants)
    assert json.loads(json.dumps(record)) == record


def test_the_import_of_scikit_learn_leaves_no_trace_in_the_generator() -> None:
    """Else a run that is resumed would differ from one that is not."""
    code = (
        "import random; random.seed(1); before = random.getstate(); from nlpx.metrics.binary import figures; "
        "figures([0, 1], [1, 1]); assert random.getstate() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
