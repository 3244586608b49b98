"""The confusion matrix and the picture of each class."""

from __future__ import annotations

from collections import Counter

import pytest

from nlpx import notes
from nlpx.metrics.classes import MOST_IN_MATRIX, evaluate
from nlpx.report import plots
from nlpx.report.confusion import plot_classes, plot_confusion

LABELS = ["a", "a", "b", "b", "b", "天气"]
ANSWERS = ["a", "b", "b", "b", "a", "a"]


def record(labels=LABELS, answers=ANSWERS, known=("a", "b", "天气")):
    return evaluate(answers, [0.9] * len(labels), labels, known=known)


def test_counts_by_label_and_answer():
    found = record()["confusion_matrix"]
    assert found["labels"] == ["a", "b", "天气"]
    pairs = Counter(zip(LABELS, ANSWERS, strict=True))
    for label, row in zip(found["labels"], found["counts"], strict=True):
        assert row == [pairs[label, answer] for answer in found["labels"]]
    many = [str(number) for number in range(MOST_IN_MATRIX + 1)]
    assert record(many, many, many)["confusion_matrix"] is None


def test_the_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    for name, draw in (("confusion.png", plot_confusion), ("classes.png", plot_classes)):
        assert draw(record(), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert not draw({}, tmp_path / "none.png")  # the record of another task, or of an earlier version
    many = [str(number) for number in range(MOST_IN_MATRIX + 1)]
    assert not plot_confusion(record(many, many, many), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_missing_font_is_said(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(plots, "_cjk_font", lambda: None)
    notes.listen(said.append)
    try:
        assert plots.drawable("abc") == "abc"
        assert said == []
        assert plots.drawable("天b") == "?b"
        assert plots.drawable("气") == "?"
    finally:
        notes.listen(None)
    assert len(said) == 1
    assert "no Chinese font was found" in said[0]
