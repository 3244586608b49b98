"""How the metrics of a classifier of many classes are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.metrics.classes import MACRO
from nlpx.report.tables import Column, Table

FIELDS = ("label", "f1", "precision", "recall", "accuracy", "support")
FIGURES = (
    Column("label"),
    Column("f1", "F1"),
    Column("precision"),
    Column("recall"),
    Column("accuracy"),
    Column("support", "rows"),
)
CONFUSED = (Column("label"), Column("answer"), Column("count", "rows"))


def rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the classes of a record, then their mean by rows, and their plain mean with the accuracy of all rows."""
    found = [{"label": name, **figures} for name, figures in record["classes"].items()]
    means = {name: record[f"macro_{name}"] for name in MACRO}
    if "weighted_f1" in record:  # earlier runs have none
        weighted = {name: record[f"weighted_{name}"] for name in MACRO}
        found.append({"label": "mean by rows", **weighted, "support": record["rows"]})
    return [*found, {"label": "mean of the labels", **means, "accuracy": record["score"], "support": record["rows"]}]


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return the figures of each class and the most frequent mistakes."""
    found = [Table(rows(record), FIGURES)]
    if record.get("confused"):
        found.append(Table(record["confused"], CONFUSED, above="The most frequent mistakes:"))
    return found
