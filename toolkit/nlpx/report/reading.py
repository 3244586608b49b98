"""How the metrics of answers to questions are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.report.tables import Column, Table

COLUMNS = (
    Column("by", " "),
    Column("accuracy"),
    Column("f1", "F1"),
    Column("mean"),
)
FIELDS = tuple(column.name for column in COLUMNS)
COUNTED = (Column("rows", "questions"), Column("unanswerable"), Column("empty", "left empty"))


def rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the figures of a record by WebQA's measures and by those of CMRC 2018."""
    theirs = record["cmrc"]
    return [
        {"by": "characters (WebQA)", "accuracy": record["accuracy"], "f1": record["f1"], "mean": record["score"]},
        {"by": "CMRC 2018", "accuracy": theirs["exact_match"], "f1": theirs["f1"], "mean": theirs["average"]},
    ]


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return the figures, and what was counted."""
    return [Table(rows(record), COLUMNS), Table([record], COUNTED)]
