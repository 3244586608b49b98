"""Notices a classifier that learns nothing: its loss stays at what the label frequencies alone would cost."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any


def label_entropy(counts: Iterable[int]) -> float:
    """The entropy in nats of labels that occur `counts` times: the loss of the best constant prediction."""
    present = [count for count in counts if count > 0]
    total = sum(present)
    return -sum(count / total * math.log(count / total) for count in present)


class CollapseDetector:
    """Warns once when the mean loss of `window` updates after the warm-up is still at the labels' entropy.

    entropy: nats, see `label_entropy`; losses of the first `warmup_steps` updates are left out, because a
    small rate can learn little yet. A run that learned and fell back is noticed as well.
    """

    def __init__(self, entropy: float, *, warmup_steps: int, window: int = 200, threshold: float = 0.98) -> None:
        self.entropy = entropy
        self.warmup_steps = warmup_steps
        self.threshold = threshold
        self.losses: deque[float] = deque(maxlen=window)
        self.warned = False

    def observe(self, step: int, loss: float) -> str | None:
        """Take in the loss of update `step` (from 1); returns the warning when it is due."""
        if self.warned or step <= self.warmup_steps:
            return None
        self.losses.append(loss)
        mean = sum(self.losses) / len(self.losses)
        if len(self.losses) < (self.losses.maxlen or 1) or mean < self.threshold * self.entropy:
            return None
        self.warned = True
        return self._warning(step, mean)

    def state_dict(self) -> dict[str, Any]:
        """The losses in the window, and whether the warning was given."""
        return {"losses": list(self.losses), "warned": self.warned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved window; its length is the configuration's."""
        self.losses = deque(state["losses"], maxlen=self.losses.maxlen)
        self.warned = state["warned"]

    def _warning(self, step: int, mean: float) -> str:
        return (
            f"step {step}: nothing is being learned: over the last {len(self.losses)} updates the mean loss is "
            f"{mean:.4f}, and always answering with the label frequencies costs {self.entropy:.4f}. "
            "Lower `optim.learning_rate`, lengthen `optim.schedule.warmup_steps`, and check in the weight "
            "report that the checkpoint's weights were used"
        )
