"""The plain ways: what they answer, against scikit-learn directly, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from nlpx.baselines.tfidf import TfidfClassifier
from nlpx.data.rows.labelled import Labelled
from nlpx.data.rows.sohu import Pair
from nlpx.errors import InputError
from nlpx.tasks.classify import Config as ClassifyConfig
from nlpx.tasks.classify import Task as Classify
from nlpx.tasks.sohu import Config, Task

WEATHER = ["今天天气很好", "明天天气不好", "后天天气很冷", "昨天天气很热"]
FOOD = ["这家的面条好吃", "那家的米饭好吃", "他家的饺子好吃", "我家的面条不好吃"]
LABELS = ["天气"] * 4 + ["吃"] * 4


def test_texts_get_the_probabilities_of_the_regression() -> None:
    found = TfidfClassifier(WEATHER + FOOD, None, LABELS)
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
    features = vectorizer.fit_transform(WEATHER + FOOD)
    regression = LogisticRegression(C=10.0, max_iter=1000).fit(features, [0] * 4 + [1] * 4)
    judged = ["天气", "好吃的面条"]
    expected = regression.predict_proba(vectorizer.transform(judged))
    assert found.classes == ["天气", "吃"]
    # float32 features move the solver's last digits; its own tolerance is 1e-4 in the gradient
    np.testing.assert_allclose(found.probabilities(judged), expected, atol=1e-3)
    assert found.probabilities(judged).argmax(1).tolist() == [0, 1]


def test_pairs_are_told_by_what_the_two_texts_share() -> None:
    firsts = WEATHER + FOOD
    same, other = WEATHER[1:] + WEATHER[:1] + FOOD[1:] + FOOD[:1], FOOD + WEATHER
    found = TfidfClassifier(firsts * 2, same + other, [1] * 8 + [0] * 8)
    matches = found.probabilities(["天气很好", "面条好吃"], ["天气不好", "天气很热"])[:, found.classes.index(1)]
    assert matches[0] > 0.5 > matches[1]


def test_one_class_has_no_baseline() -> None:
    with pytest.raises(InputError, match="every row is of the class '吃'"):
        TfidfClassifier(FOOD, None, ["吃"] * 4)


def test_texts_without_an_ngram_in_common_have_none() -> None:
    with pytest.raises(InputError, match="no n-gram that occurs in two"):
        TfidfClassifier(["天", "地"], None, [0, 1])


def pair(source: str, target: str, variant: int, label: int) -> Pair:
    return Pair(source, target, variant, label, id=None, place="test:1", split=None, row={})


def test_matching_knows_always_and_a_regression_for_each_variant() -> None:
    rows = [pair(text, WEATHER[0], variant, 1) for text in WEATHER for variant in (0, 1)]
    rows += [pair(text, WEATHER[0], variant, 0) for text in FOOD for variant in (0, 1)]
    # In variant 1 the labels are turned round, which one regression for both could not learn.
    rows = [
        found if found.variant == 0 else pair(found.source, found.target, 1, 1 - (found.label or 0)) for found in rows
    ]
    always, counted = Task(Config()).baselines(rows)
    assert always.predict(rows) == [1.0] * len(rows)
    found = [int(probability > 0.5) for probability in counted.predict(rows)]
    assert found == [row.label for row in rows]
    unseen = pair(WEATHER[1], WEATHER[2], 4, 1)
    assert 0 <= counted.predict([unseen])[0] <= 1


def test_classification_knows_the_most_frequent_class() -> None:
    task = Classify(ClassifyConfig())
    task.labels = ["吃", "天气"]

    def row(text: str, label: str) -> Labelled:
        return Labelled(text, None, label, place="test:1", split=None, row={"text": text})

    rows: list[Any] = [row(text, label) for text, label in zip(WEATHER + FOOD, LABELS, strict=True)][1:]
    frequent, counted = task.baselines(rows)
    assert frequent.name == "always 吃"
    assert [(found.label, found.probability) for found in frequent.predict(rows[:2])] == [(0, 4 / 7)] * 2
    assert task.evaluate(rows, counted.predict(rows)).score == 1.0
