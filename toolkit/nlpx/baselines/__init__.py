"""The plain ways that a model has to beat, fitted on the same rows: always the same answer, and counting n-grams.

A task says which ones are fair for it (`ComparedTask.baselines`); a run compares its score with theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Baseline"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A plain way by name, fitted; `predict` gives what the task's own `predict` would, one prediction a row."""

    name: str
    predict: Callable[[Sequence[Any]], list[Any]]
