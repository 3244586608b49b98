"""The table of a model beside the plain ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.report.tables import Column, Table

SPLIT = "baselines"  # of its record in `metrics.jsonl`
MODEL = "this model"
COLUMNS = (Column("model", " "), Column("dev"), Column("test"))


def table(record: Mapping[str, Any]) -> Table:
    """The scores of the model and of each baseline on dev and on test."""
    return Table(record["rows"], COLUMNS)
