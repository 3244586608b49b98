"""The objective of a task: what its model says of a batch, under the loss that was chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlpx.configuration.section import plugin_config
from nlpx.errors import UsageError
from nlpx.losses import Loss, LossFacts, build_loss
from nlpx.objectives import ObjectiveOutput
from nlpx.tasks import LabelledTask, OwnLoss, ShiftedTask, Task

if TYPE_CHECKING:
    from nlpx.train.step import Objective


@dataclass(frozen=True)
class TaskObjective:
    """The outputs of a task under a loss of `losses/`."""

    task: Task
    loss: Loss

    def __call__(self, model: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        """The loss of one batch, and what it was computed from."""
        outputs = self.task.forward(model, batch)
        return ObjectiveOutput(self.loss(outputs, batch), dict(outputs))


def task_objective(task: Task, rows: Iterable[Any] = (), *, loss: str | None = None, options: Any = None) -> Objective:
    """The task's outputs under a loss of `losses/`, by default the task's; or the objective of a task with its own.

    `rows` are the training rows, of which a loss may know the label counts; `options` its settings, by default its own.
    Raises `UsageError` for a loss that does not fit the task.
    """
    chosen = loss or task.loss
    if chosen is None:
        assert isinstance(task, OwnLoss)
        return task.objective
    if not task.targets:
        raise UsageError("the task computes its own loss", hint="leave out `loss`")
    counts = task.label_counts(rows) if isinstance(task, LabelledTask) else ()
    settings = plugin_config("losses", chosen)() if loss is None or options is None else options
    criterion = build_loss(chosen, settings, LossFacts(counts), outputs=task.outputs, targets=task.targets)
    shift = getattr(criterion, "decision_shift", None)
    if shift is not None:
        if not isinstance(task, ShiftedTask):
            raise UsageError(
                f"loss `{chosen}` changes how answers are chosen, and the task chooses them in its own way"
            )
        task.decision_shift = list(shift)
    return TaskObjective(task, criterion)
