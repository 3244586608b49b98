"""Rows with several labels: the loss against its formula, the metrics against figures worked by hand."""

from __future__ import annotations

import math
import random

import pytest
import torch
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from nlpx.losses.binary_cross_entropy import Config, Loss
from nlpx.metrics.label_sets import evaluate


def test_the_loss_is_its_formula():
    logits, labels = torch.tensor([[0.3, -1.2, 2.0], [0.0, 0.7, -0.4]]), torch.tensor([[1, 0, 1], [0, 0, 1]])
    expected = 0.0
    for row, given in zip(logits.tolist(), labels.tolist(), strict=True):
        for logit, label in zip(row, given, strict=True):
            probability = 1 / (1 + math.exp(-logit))
            expected -= math.log(probability if label else 1 - probability) / 6
    assert Loss(Config())({"logits": logits}, {"labels": labels}).item() == pytest.approx(expected, rel=1e-6)


def test_the_metrics_by_hand():
    """a: 1 right of 2 answers, 1 label; b: 1 right of 1 answer, 2 labels; c: none; d, never trained on: missed."""
    answers, labels = [["a"], ["a", "b"], []], [["a"], ["b"], ["b", "d"]]
    found = evaluate(answers, labels, known=["a", "b", "c"])
    f1 = {name: figures["f1"] for name, figures in found["classes"].items()}
    assert f1 == pytest.approx({"a": 2 / 3, "b": 2 / 3, "c": 0, "d": 0})
    assert found["score"] == found["micro_f1"] == pytest.approx(2 * 2 / (3 + 4))
    assert (found["micro_precision"], found["micro_recall"]) == pytest.approx((2 / 3, 2 / 4))
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)  # c occurs nowhere
    assert found["weighted_f1"] == pytest.approx((1 * 2 / 3 + 2 * 2 / 3 + 1 * 0) / 4)
    assert found["exact"] == pytest.approx(1 / 3)


def test_the_metrics_are_those_of_scikit_learn():
    chance, names = random.Random(0), ["a", "b", "c", "d"]
    answers, labels = ([[name for name in names if chance.random() < 0.4] for _ in range(60)] for _ in range(2))
    found = evaluate(answers, labels, known=names)
    tables = [[[int(name in row) for name in names] for row in sets] for sets in (labels, answers)]
    for mean in ("micro", "macro", "weighted"):
        precision, recall, f1, _ = precision_recall_fscore_support(*tables, average=mean)
        assert [found[f"{mean}_{part}"] for part in ("precision", "recall", "f1")] == pytest.approx(
            [precision, recall, f1]
        )
    assert found["exact"] == pytest.approx(accuracy_score(*tables))


def test_no_rows_and_no_labels():
    assert evaluate([], [], known=["a"])["score"] == 0
    empty = evaluate([[], []], [[], []], known=["a"])
    assert (empty["score"], empty["exact"], empty["macro_f1"]) == (0, 1, 0)
