"""How the metrics of rows with several labels are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.metrics.label_sets import MEANS, PARTS
from nlpx.report.tables import Column, Table

FIELDS = ("label", "f1", "precision", "recall", "support")
FIGURES = (Column("label"), Column("f1", "F1"), Column("precision"), Column("recall"), Column("support", "rows"))


def rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the classes of a record, then its three means."""
    found = [{"label": name, **figures} for name, figures in record["classes"].items()]
    means = [{"label": f"{mean} mean", **{part: record[f"{mean}_{part}"] for part in PARTS}} for mean in MEANS]
    return [*found, *({**row, "support": record["rows"]} for row in means)]


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Return the figures of each class and their means."""
    below = f"The whole set of labels is right in {record['exact']:.1%} of {record['rows']:,} rows."
    return [Table(rows(record), FIGURES, below=below)]
