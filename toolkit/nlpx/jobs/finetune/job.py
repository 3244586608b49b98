"""The parts of one fine-tuning run: rows, tokenizer, model, training, evaluation, checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import ResultError, UsageError
from nlpx.jobs.finetune.comparison import compare
from nlpx.jobs.finetune.config import SAMPLE, Config
from nlpx.report.baselines import SPLIT
from nlpx.runs.running import Finished
from nlpx.runs.starting_model import StartingModel
from nlpx.tasks import EncodedRows, Evaluation, JudgedTask, LabelledTask, PublishingTask, SelectiveTask, Task
from nlpx.tricks import check_joined, check_needs

if TYPE_CHECKING:
    from nlpx.messages import Messages
    from nlpx.runs.folder import RunFolder
    from nlpx.runs.timing import Rehearsal
    from nlpx.train.loop import Collate
    from nlpx.train.state import Training
    from nlpx.train.step import Objective


class Job:
    """The parts of one run, in the order in which they are needed."""

    def __init__(self, config: Config, messages: Messages, device: Any, *, require: float | None = None) -> None:
        from nlpx.configuration import registry

        self.config, self.messages, self.device = config, messages, device
        self.name, self.require = config.task, require
        self.task: Task = registry.load("tasks", config.task).Task(config.task_options)
        self.splits = self._read()
        parts = {"heads": self.task.heads, **self.task.model_parts()}
        self.start = StartingModel(config.model, messages, parts=parts, max_length=config.data.max_length)
        self.tokenizer = self.start.read_tokenizer(lambda: self.task.texts(self.splits.train))
        self.pad = self.tokenizer.pad_token_id or 0
        self.objective = self._objective()

    def check(self) -> None:
        """Refuse what cannot work, before anything is written: vocabulary, positions, parts, lengths."""
        check_joined(list(self.config.tricks), self.config.train)
        needs = check_needs(self.config.tricks, self.task.outputs, of=f"the task {self.name}")
        if "logits" in needs and hasattr(self.task, "keep_logits"):
            self.task.keep_logits = True
        if self.start.is_ours and isinstance(self.task, SelectiveTask):
            self.task.check_model(None if self.start.described is None else self.start.described.config)
        self.start.check(self.task.alternatives)
        self.encode(self.splits.train[:1])

    def inputs(self) -> Sequence[str]:
        """Where the rows are."""
        data = self.config.data
        return [*data_paths(self.config), *data.dev, *data.test]

    def train(self, run: RunFolder | None, state: Path | None) -> Evaluation:
        """Build, resume from `state` if there is one, and follow the loop; `run` is None in all processes but one."""
        from nlpx.runs.following import Follower, resume

        training, collate = self.begin()
        if state is not None:
            resume(training, run, state, self.messages)
        follower = Follower(
            training=training,
            config=self.config.train,
            optim=self.config.optim,
            run=run,
            messages=self.messages,
            evaluate=self.evaluate,
            save_model=_save,
            publish=self.publish,
        )
        return follower.follow(self.objective, collate)

    def begin(self) -> tuple[Training, Collate]:
        """The run before its first update, and what makes its batches."""
        encoded = self.encode(self.splits.train)
        self._note_truncated(encoded)
        self.dev = self.encode(self.splits.dev)
        self.model = self.start.build().to(self.device)
        return self._prepare(encoded.lengths), lambda rows: self.task.collate(encoded, rows, self.pad)

    def rehearsal(self, done: int) -> Rehearsal:
        """The run with what it evaluates on, to be timed; `done` updates lie behind it."""
        from nlpx.runs.timing import Rehearsal, tokens_of

        training, collate = self.begin()
        dev, test = tokens_of(self.dev.lengths), tokens_of(self.encode(self.splits.test).lengths)
        return Rehearsal(
            training=training,
            objective=self.objective,
            collate=collate,
            evaluation_tokens=dev,
            final_tokens=dev + test,
            done=done,
        )

    def encode(self, rows: Any) -> EncodedRows:
        """Rows as ids, truncated to the run's `max_length`."""
        return self.task.encode(rows, self.tokenizer, self.config.data.max_length)

    def evaluate(self) -> Evaluation:
        """Score the dev rows with the weights the model holds now."""
        from nlpx.runs.inference import predict_encoded

        precision = self.config.train.precision
        predictions = predict_encoded(self.task, self.model, self.dev, self.pad, self.device, precision)
        if isinstance(self.task, LabelledTask):
            self.task.calibrate(self.splits.dev, predictions)
        return self.task.evaluate(self.splits.dev, predictions)

    def publish(self, directory: Path) -> None:
        """Weights, tokenizer, and what `nlpx predict` must know of the task."""
        from nlpx.runs.inference import save_task

        self.model.save(directory)
        self.tokenizer.save(directory)
        save_task(directory, self.config, self.task)
        if isinstance(self.task, PublishingTask):
            self.task.publish(directory, self.config.data.max_length)

    def finish(self, run: RunFolder) -> Finished:
        """Answer dev and test with the best checkpoint, and report."""
        from nlpx.report.build import build
        from nlpx.runs.inference import Predictor

        predictor = Predictor(run.best_checkpoint, self.device)
        evaluation = predictor.answer(
            self.splits.dev, run.predictions / "dev.jsonl", mistakes=run.predictions / "errors.jsonl"
        )
        best, tested = evaluation.score, None
        if self.splits.test:
            answered = predictor.answer(self.splits.test, run.predictions / "test.jsonl")
            if not isinstance(self.task, JudgedTask) or self.task.is_labelled(self.splits.test):
                tested = answered
                run.metrics({"step": run.last_step(), "split": "test", **tested.record})
                self.messages.note(f"test score {tested.score:.4f} of the best checkpoint")
        beside = compare(self.config, predictor.task, self.splits, (evaluation, tested), self.messages)
        if beside:
            run.metrics({"step": run.last_step(), "split": SPLIT, "rows": beside})
        run.set_primary_metric(self.task.primary_metric, best)
        run.finish("finished")
        build(run, self.task.tables)
        if self.require is not None and not best >= self.require:  # a score that is no number is too low as well
            raise ResultError(
                f"score {best:.4f} is below --require {self.require}", hint=f"nlpx runs report {run.path}"
            )
        return Finished(str(run.path), best, evaluation.table, tuple(evaluation.columns), beside)

    def _read(self) -> Any:
        from nlpx.data.rows.reading import RowReport

        data, report = self.config.data, RowReport()
        splits = self.task.read(
            data_paths(self.config),
            dev=data.dev,
            test=data.test,
            encoding=data.encoding,
            format=data.format,
            on_bad_row=data.on_bad_row,
            report=report,
        )
        for note in splits.notes:
            self.messages.note(note)
        if report.num_skipped:
            self.messages.warn(f"{report.num_skipped} bad rows were skipped; the first: {report.errors[0]}")
        return splits

    def _prepare(self, lengths: list[int]) -> Training:
        from nlpx.train.collapse import label_entropy
        from nlpx.train.loop import prepare

        config, counts = self.config, self._label_counts()
        training = prepare(
            self.model,
            lengths=lengths,
            config=config.train,
            optim=config.optim,
            tricks=config.tricks,
            seed=config.seed,
            label_entropy=None if counts is None else label_entropy(counts),
        )
        loss = getattr(self.objective, "loss", None)
        training.loss = loss if hasattr(loss, "state_dict") else None
        return training

    def _objective(self) -> Objective:
        from nlpx.runs.objective import task_objective

        config = self.config
        return task_objective(self.task, self.splits.train, loss=config.loss, options=config.loss_options)

    def _label_counts(self) -> list[int] | None:
        """Of a task whose loss can be compared with the labels' entropy."""
        if self.task.targets == "label_sets" or not isinstance(self.task, LabelledTask):
            return None
        return self.task.label_counts(self.splits.train)

    def _note_truncated(self, encoded: EncodedRows) -> None:
        if encoded.truncated is not None:
            for sentence in encoded.truncated:
                self.messages.note(sentence)
            return
        longest = self.config.data.max_length
        if full := encoded.num_at(longest):
            self.messages.note(f"{full} of {len(encoded.lengths)} rows reach {longest} tokens and may be truncated")


def _save(model: Any, directory: Path) -> None:
    model.save(directory)


def data_paths(config: Config) -> list[str]:
    """Where the rows are: `sample` stands for what ships for the task. Raises UsageError if nothing does."""
    from nlpx import bundled
    from nlpx.configuration import registry

    path = config.data.path
    if path != SAMPLE:
        return [path] if isinstance(path, str) else list(path)
    if config.task not in bundled.names():
        example = registry.load("tasks", config.task).Task.example
        raise UsageError(
            f"no rows: no sample ships for the task {config.task}",
            hint=f"--data FILE names a file of rows such as {example}",
        )
    return [str(bundled.path(config.task) / "sample.jsonl")]
