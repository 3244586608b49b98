"""The parts of one fine-tuning run: rows, tokenizer, model, training, evaluation, checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import ResultError, UsageError
from nlpx.jobs.finetune.config import SAMPLE, Config
from nlpx.runs.running import Finished
from nlpx.runs.starting_model import StartingModel

if TYPE_CHECKING:
    from nlpx.messages import Messages
    from nlpx.runs.folder import RunFolder
    from nlpx.tasks import Evaluation, Examples
    from nlpx.train.state import Training


class Job:
    """The parts of one run, in the order in which they are needed."""

    def __init__(self, config: Config, messages: Messages, device: Any, *, require: float | None = None) -> None:
        from nlpx.configuration.registry import load

        self.config, self.messages, self.device = config, messages, device
        self.name, self.require = config.task, require
        self.task = load("tasks", config.task).Task(config.task_options)
        self.splits = self._read()
        parts = self.task.model_choices()
        self.start = StartingModel(config.model, messages, parts=parts, max_length=config.data.max_length)
        self.tokenizer = self.start.read_tokenizer(lambda: self.task.texts(self.splits.train))
        self.pad = self.tokenizer.pad_token_id or 0

    def check(self) -> None:
        """Refuse what cannot work, before anything is written: vocabulary, positions, parts."""
        if not self.start.is_ours:
            self._check_backbone()
        self.start.check()

    def inputs(self) -> Sequence[str]:
        """Where the rows are."""
        return [data_path(self.config)]

    def train(self, run: RunFolder | None, state: Path | None) -> Evaluation:
        """Build, go on from `state` if there is one, and follow the loop; `run` is None in all processes but one."""
        from nlpx.runs.following import Follower, resume

        examples = self.encode(self.splits.train)
        self._note_truncation(examples.lengths)
        self.dev = self.encode(self.splits.dev)
        self.model = self._model().to(self.device)
        training = self._prepare(examples.lengths)
        if state is not None:
            resume(training, run, state, self.messages)
        follower = Follower(
            training=training,
            config=self.config.train,
            run=run,
            messages=self.messages,
            evaluate=self.evaluate,
            save_model=_save,
            publish=self.publish,
        )
        return follower.follow(self.task.objective, lambda rows: self.task.collate(examples, rows, self.pad))

    def encode(self, rows: Any) -> Examples:
        """Rows as ids, truncated to the run's `max_length`."""
        examples: Examples = self.task.encode(rows, self.tokenizer, self.config.data.max_length)
        return examples

    def evaluate(self) -> Evaluation:
        """Score the dev rows with the weights the model holds now."""
        from nlpx.runs.inference import predict_examples

        outputs = predict_examples(self.task, self.model, self.dev, self.pad, self.device, self.config.train.precision)
        self.task.calibrate(self.splits.dev, outputs)
        evaluation: Evaluation = self.task.evaluate(self.splits.dev, outputs)
        return evaluation

    def publish(self, directory: Path) -> None:
        """Weights, tokenizer, and what `nlpx predict` must know of the task."""
        from nlpx.runs.inference import save_task

        self.model.save(directory)
        self.tokenizer.save(directory)
        save_task(directory, self.config, self.task)

    def finish(self, run: RunFolder) -> Finished:
        """Answer dev and test with the best checkpoint, and report."""
        from nlpx.report.build import build
        from nlpx.runs.inference import Predictor

        predictor = Predictor(run.best_checkpoint, self.device)
        evaluation = predictor.answer(self.splits.dev, run.predictions / "dev.jsonl")
        best = evaluation.score
        if self.splits.test:
            tested = predictor.answer(self.splits.test, run.predictions / "test.jsonl")
            if self.task.is_labelled(self.splits.test):
                run.metrics({"step": run.last_step(), "split": "test", **tested.record})
                self.messages.note(f"test score {tested.score:.4f} of the best checkpoint")
        run.headline(self.task.headline, best)
        run.finish("finished")
        build(run)
        if self.require is not None and not best >= self.require:  # a score that is no number is too low as well
            raise ResultError(
                f"score {best:.4f} is below --require {self.require}", hint=f"nlpx runs report {run.path}"
            )
        return Finished(str(run.path), best, evaluation.table, tuple(evaluation.columns))

    def _read(self) -> Any:
        from nlpx.data.rows.reading import RowReport

        data, report = self.config.data, RowReport()
        splits = self.task.read(
            data_path(self.config), encoding=data.encoding, on_bad_row=data.on_bad_row, report=report
        )
        for note in splits.notes:
            self.messages.note(note)
        if report.num_skipped:
            self.messages.warn(f"{report.num_skipped} bad rows were skipped; the first: {report.errors[0]}")
        return splits

    def _prepare(self, lengths: list[int]) -> Training:
        from nlpx.train.collapse import label_entropy
        from nlpx.train.loop import prepare

        config = self.config
        return prepare(
            self.model,
            lengths=lengths,
            config=config.train,
            optim=config.optim,
            tricks=config.tricks,
            seed=config.seed,
            label_entropy=label_entropy(self.task.label_counts(self.splits.train)),
        )

    def _model(self) -> Any:
        is_classifier = "classification" in self.task.model_choices().get("heads", ())
        return self.start.build(head="classification" if is_classifier else None)

    def _check_backbone(self) -> None:
        parts, name = self.task.model_choices(), self.config.model.name
        if parts.get("condition_size"):
            raise UsageError(
                f"{name}: a model loaded through transformers has no conditional norms",
                hint="--set task_options.conditional=false does without the condition",
            )
        if parts.get("classification_pooling") != "mean" or self.config.model.choices:
            raise UsageError(
                f"{name}: a model loaded through transformers is taken as it is, with mean pooling",
                hint="leave out model.choices and other poolings",
            )

    def _note_truncation(self, lengths: list[int]) -> None:
        num_long = sum(length >= self.config.data.max_length for length in lengths)
        if num_long:
            self.messages.note(
                f"{num_long} of {len(lengths)} rows reach {self.config.data.max_length} tokens and may be truncated"
            )


def _save(model: Any, directory: Path) -> None:
    model.save(directory)


def data_path(config: Config) -> str:
    """Where the rows are: `sample` stands for what ships for the task. Raises UsageError if nothing does."""
    from nlpx import bundled
    from nlpx.configuration.registry import load

    if config.data.path != SAMPLE:
        return config.data.path
    if config.task not in bundled.names():
        example = load("tasks", config.task).Task.example
        raise UsageError(
            f"no rows: no sample ships for the task {config.task}",
            hint=f"--data FILE names a file of rows such as {example}",
        )
    return str(bundled.path(config.task) / "sample.jsonl")
