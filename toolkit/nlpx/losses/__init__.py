"""Losses of tasks, one a file: functions of a task's outputs and a batch's targets.

A loss's file has

    OUTPUTS             names of the task's outputs that it reads, such as `logits`
    TARGETS             what it is a loss of: `classes`, ... the task says which targets it has
    class Config(Section)
    SOURCE              where it was published; empty for what every textbook has
    class Loss          built from its config and `LossFacts`; `loss(outputs, batch)` is the mean over the batch

`Loss` may have `state_dict()` and `load_state_dict(state)`, which a run then saves, and `decision_shift`, numbers that
are to be added to the logits before an answer is chosen.

`finetune` finds it by its file's name: `--set loss=NAME --set loss_options.KEY=VALUE`. A task without one in its
`losses` computes its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nlpx.configuration import registry
from nlpx.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class LossFacts:
    """What a loss may want to know of the training rows."""

    label_counts: Sequence[int] = ()  # by class


class Loss(Protocol):
    """What `losses/<name>.py` calls `Loss`."""

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor: ...


def build_loss(name: str, config: Any, facts: LossFacts, *, outputs: Sequence[str], targets: str) -> Loss:
    """The loss of `losses/<name>.py` for a task with these outputs and targets.

    Raises `UsageError` if it is a loss of other targets or reads what the task does not give.
    """
    module = registry.load("losses", name)
    if targets != module.TARGETS:
        raise UsageError(
            f"loss `{name}` is one of {module.TARGETS}, and the task's targets are {targets}",
            hint=f"losses that fit: {', '.join(fitting(targets)) or 'none'}",
        )
    missing = [output for output in module.OUTPUTS if output not in outputs]
    if missing:
        raise UsageError(f"loss `{name}` reads `{missing[0]}`, which the task does not give: {', '.join(outputs)}")
    loss: Loss = module.Loss(config, facts)
    return loss


def fitting(targets: str) -> list[str]:
    """The losses of such targets, by name."""
    return [name for name in registry.plugins("losses") if targets == registry.load("losses", name).TARGETS]
