"""The best score so far, and when to stop waiting for a better one."""

from __future__ import annotations

from typing import Any


class EarlyStopping:
    """Counts evaluations without a better score; higher is better. `patience=None` never stops."""

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience
        self.best_score: float | None = None
        self.best_step: int | None = None
        self.num_waiting = 0

    def observe(self, score: float, *, step: int) -> bool:
        """Take in the score of an evaluation; returns whether it is the best so far."""
        # Written so that a NaN is never the best, not even the first.
        if score == score and (self.best_score is None or score > self.best_score):
            self.best_score, self.best_step, self.num_waiting = score, step, 0
            return True
        self.num_waiting += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether `patience` evaluations in a row brought nothing better."""
        return self.patience is not None and self.num_waiting >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Best score, its step, and the evaluations since."""
        return {"best_score": self.best_score, "best_step": self.best_step, "num_waiting": self.num_waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved count; `patience` is the configuration's."""
        self.best_score, self.best_step = state["best_score"], state["best_step"]
        self.num_waiting = state["num_waiting"]
