"""Figures of a classifier of any number of classes: accuracy, macro F1, one line a class, what is taken for what.

Accuracy is the share of right answers. Macro F1 is the plain mean of the classes' F1, so that a rare class counts as
much as a common one, over the classes that occur among the labels or the answers, as scikit-learn has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nlpx.report.binary import calibration_error, reliability
from nlpx.report.tables import Column, render

SCORE = "accuracy"
COLUMNS = ("label", "f1", "precision", "recall", "accuracy", "support")
FIGURES = (
    Column("label"),
    Column("f1", "F1"),
    Column("precision"),
    Column("recall"),
    Column("accuracy"),
    Column("support", "rows"),
)
CONFUSED = (Column("label"), Column("answer"), Column("count", "rows"))
NUM_CONFUSED = 10


def evaluate(
    answers: Sequence[str], probabilities: Sequence[float], labels: Sequence[str], *, known: Sequence[str]
) -> dict[str, Any]:
    """Return all figures of one evaluation as JSON values; the first three are parallel, one entry a row.

    `known` orders the classes; labels beyond them follow. `probabilities` are those of the answers. Keys: `score`
    (accuracy, which `score_is` says), `macro_f1`, `macro_precision`, `macro_recall`, `rows`, `classes` by name,
    `confused` (the most frequent mistakes), `reliability` (share of right answers by probability),
    `calibration_error`.
    """
    pairs = Counter(zip(labels, answers, strict=True))
    names = list(dict.fromkeys([*known, *sorted(set(labels))]))
    support, answered = Counter(labels), Counter(answers)
    classes = {name: _of_class(pairs[name, name], support[name], answered[name]) for name in names}
    present = [figures for figures in classes.values() if figures["support"] or figures["answers"]]
    right = [int(answer == label) for answer, label in zip(answers, labels, strict=True)]
    bins = reliability(probabilities, right)
    return {
        "score": _mean(right),
        "score_is": SCORE,
        **{f"macro_{name}": _mean([figures[name] for figures in present]) for name in ("f1", "precision", "recall")},
        "rows": len(labels),
        "classes": classes,
        "confused": _confused(pairs),
        "reliability": bins,
        "calibration_error": calibration_error(bins),
    }


def class_table(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an evaluation's table: its classes, then their mean with the accuracy of all rows."""
    rows = [{"label": name, **figures} for name, figures in record["classes"].items()]
    means = {name: record[f"macro_{name}"] for name in ("f1", "precision", "recall")}
    return [*rows, {"label": "mean of the labels", **means, "accuracy": record["score"], "support": record["rows"]}]


def sections(record: Mapping[str, Any]) -> str:
    """Return the tables of one evaluation as Markdown: figures of each class, and the most frequent mistakes."""
    parts = [render(class_table(record), FIGURES, form="markdown")]
    if record.get("confused"):
        parts.append("The most frequent mistakes:")
        parts.append(render(record["confused"], CONFUSED, form="markdown"))
    return "\n\n".join(parts)


def _of_class(num_right: int, support: int, num_answers: int) -> dict[str, float | int]:
    return {
        "f1": _share(2 * num_right, support + num_answers),
        "precision": _share(num_right, num_answers),
        "recall": _share(num_right, support),
        "support": support,
        "answers": num_answers,
    }


def _confused(pairs: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    wrong = [(count, label, answer) for (label, answer), count in pairs.items() if label != answer]
    worst = sorted(wrong, key=lambda found: (-found[0], *found[1:]))[:NUM_CONFUSED]
    return [{"label": label, "answer": answer, "count": count} for count, label, answer in worst]


def _mean(values: Sequence[float]) -> float:
    return _share(sum(values), len(values))


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0
