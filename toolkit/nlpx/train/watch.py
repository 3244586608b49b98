"""Stops a run whose loss or gradient is no longer a number, and says which rows did it.

Reading a number makes the host wait for an accelerator, so there the checks are put off and done together;
whoever saves a checkpoint asks for them first, so that none ever holds an unchecked step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nlpx.errors import ResultError
from nlpx.train.collapse import CollapseDetector

if TYPE_CHECKING:
    from torch import Tensor

NUM_ROWS_NAMED = 8  # in the error of a loss that is not finite


@dataclass(frozen=True)
class Unchecked:
    """A step nobody has looked at yet."""

    step: int
    epoch: int
    rows: list[int]  # of this process
    loss: Tensor
    gradient_norm: Tensor


class LossWatch:
    """Looks at every step, at once or some steps later, but always before a checkpoint."""

    def __init__(self, collapse: CollapseDetector | None = None) -> None:
        self.collapse = collapse
        self.pending: list[Unchecked] = []
        self.warning: str | None = None

    def add(self, unchecked: Unchecked, *, check: bool) -> None:
        """Take in a step; `check` looks at it and at all that wait."""
        self.pending.append(unchecked)
        if check:
            self.flush()

    def flush(self) -> None:
        """Look at the waiting steps; the first whose loss or gradient is not finite is a `ResultError`."""
        import torch

        if not self.pending:
            return
        numbers = torch.stack(
            [torch.stack((entry.loss.float(), entry.gradient_norm.float())) for entry in self.pending]
        )
        for entry, (loss, norm) in zip(self.pending, numbers.tolist(), strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise _not_finite(entry, loss, norm)  # what is pending stays so: nothing can be saved any more
            if self.collapse is not None:
                self.warning = self.collapse.observe(entry.step, loss) or self.warning
        self.pending.clear()

    def take_warning(self) -> str | None:
        """The warning that has come up since the last call, if any."""
        warning, self.warning = self.warning, None
        return warning


def _not_finite(entry: Unchecked, loss: float, norm: float) -> ResultError:
    from nlpx.train import distributed

    # Loss and norm are those of all processes together: each gets here at the same step.
    rows = [row for part in distributed.gather(entry.rows) for row in part]
    named = ", ".join(map(str, rows[:NUM_ROWS_NAMED]))
    more = f" and {len(rows) - NUM_ROWS_NAMED} more" if len(rows) > NUM_ROWS_NAMED else ""
    what = f"the loss became {loss}"
    if math.isfinite(loss):
        what = f"the gradient's norm became {norm} (loss {loss:.4g})"
    return ResultError(
        f"step {entry.step}, epoch {entry.epoch}: {what}; rows of the batch, counted from 0: {named}{more}",
        hint="look at these rows; lower `optim.learning_rate`, lengthen `optim.schedule.warmup_steps`, "
        "lower `train.max_gradient_norm`, or set `train.precision=float32`. The last checkpoint is whole",
    )
