"""The score of a run beside those of the plain ways, fitted on the same training rows, judged on the same others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError
from nlpx.jobs.finetune.config import SAMPLE, Config
from nlpx.report.baselines import MODEL
from nlpx.tasks import ComparedTask, Evaluation, LabelledTask, Task

if TYPE_CHECKING:
    from nlpx.messages import Messages


def compare(
    config: Config,
    task: Task,
    splits: Any,
    evaluations: tuple[Evaluation, Evaluation | None],
    messages: Messages,
) -> list[dict[str, Any]]:
    """Rows with `model`, `dev` and `test`, the trained model first; none where no comparison is asked for or possible.

    `evaluations` are the model's of dev and of test, None where no test row has a label to compare with. What a task
    settles on dev rows, such as a threshold, each baseline settles for itself.
    """
    wanted = config.data.path == SAMPLE if config.baseline is None else config.baseline
    if not wanted or not isinstance(task, ComparedTask):
        return []
    dev, test = evaluations
    try:
        baselines = task.baselines(splits.train)
    except InputError as error:
        messages.warn(f"no baseline: {error}")
        return []
    rows = [{"model": MODEL, "dev": dev.score, "test": None if test is None else test.score}]
    for baseline in baselines:
        own = _like(task)
        predictions = baseline.predict(splits.dev)
        if isinstance(own, LabelledTask):
            own.calibrate(splits.dev, predictions)
        judged = {"dev": own.evaluate(splits.dev, predictions).score, "test": None}
        if test is not None:
            judged["test"] = own.evaluate(splits.test, baseline.predict(splits.test)).score
        rows.append({"model": baseline.name, **judged})
    return rows


def _like(task: Any) -> Any:
    """A task of the same configuration and state, whose thresholds are its own."""
    other = type(task)(task.config)
    other.load_state(task.state())
    return other
