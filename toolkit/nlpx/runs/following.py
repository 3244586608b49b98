"""What happens around the loop, the same for every job that trains: log, evaluate, save, stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from nlpx.io import replace_directory
from nlpx.messages import Messages, Progress
from nlpx.optim.config import OptimConfig
from nlpx.runs.folder import RunFolder
from nlpx.runs.reach import warnings_for
from nlpx.runs.tracking import TensorBoard
from nlpx.tasks import Evaluation
from nlpx.train import distributed
from nlpx.train.config import Every, TrainConfig
from nlpx.train.interrupt import InterruptGuard
from nlpx.train.loop import Collate, StepInfo, train
from nlpx.train.state import Training
from nlpx.train.step import Objective, evaluation_weights


@dataclass(frozen=True, kw_only=True)
class Follower:
    """Consumes the steps of one training run."""

    training: Training
    config: TrainConfig
    optim: OptimConfig
    run: RunFolder | None  # None in every process but the first
    messages: Messages
    evaluate: Callable[[], Evaluation]
    save_model: Callable[[nn.Module, Path], None]  # the model's own files, in a checkpoint for resuming
    publish: Callable[[Path], None]  # everything a prediction needs
    facts: Callable[[StepInfo], dict[str, Any]] = lambda _info: {}  # what else to record of a step

    def follow(self, objective: Objective, collate: Collate) -> Evaluation:
        """Train to the end, an interrupt, or the end of patience; returns the last evaluation.

        Raises `KeyboardInterrupt` after an interrupt, when the state is saved.
        """
        try:
            return self._follow(objective, collate)
        finally:
            if self._board is not None:
                self._board.close()

    def _follow(self, objective: Objective, collate: Collate) -> Evaluation:
        evaluation, training = None, self.training
        for warning in warnings_for(training, self.optim) if training.step == 0 else ():
            self.messages.warn(warning)
        if training.tricks:
            self.messages.note(f"tricks, innermost first: {', '.join(named.name for named in training.tricks)}")
        announce = "finishing this step and saving; press Ctrl-C again to leave at once"
        with (
            InterruptGuard(lambda: self.messages.note(announce)) as guard,
            self.messages.progress(training.total_steps, "training", initial=training.step) as progress,
        ):
            clock = _Clock()
            steps = train(training, objective=objective, collate=collate, config=self.config, guard=guard)
            for info in () if self._stop_early() else steps:
                self._log(info, progress, clock)
                if info.due(self.config.eval_every):
                    with progress.aside("evaluation", left=num_left(info, self.config.eval_every)):
                        evaluation = self._evaluate()
                stopping = self._stop_early()
                if info.due(self.config.save_every) or info.is_last or stopping:
                    with progress.aside("checkpoint", left=num_left(info, self.config.save_every)):
                        self._save()
                clock.restart()
                if stopping:
                    self.messages.note(f"no better score in {self.config.patience} evaluations: stopping")
                    break
        if training.interrupted:
            self._save()
            raise KeyboardInterrupt
        return evaluation or self._evaluate()  # a run that never evaluates still has a score and a best checkpoint

    def _log(self, info: StepInfo, progress: Progress, clock: _Clock) -> None:
        clock.add(info.num_tokens)
        if info.warning:
            self.messages.warn(info.warning)
        if info.step % self.config.log_every and not info.is_last:
            progress.update(info.step)
            return
        progress.update(info.step, loss=info.loss, rate=f"{clock.rate():,.0f} tokens/s")
        record = {
            "step": info.step,
            "epoch": info.epoch,
            "split": "train",
            "loss": info.loss,
            "learning_rate": info.learning_rate,
            "gradient_norm": info.gradient_norm,
            "tokens": info.num_tokens,
            "seconds": round(info.seconds, 4),
        }
        if info.shares:
            record["shares"] = shares = info.shares
            of_tricks = ", ".join(f"{name} {share:+.4f}" for name, share in shares.items())
            self.messages.detail(f"step {info.step}: loss {record['loss']:.4f}, of it {of_tricks}")
        self._record(record | self.facts(info))

    def _evaluate(self) -> Evaluation:
        """Score the weights that evaluations use, in the first process; all learn the score."""
        self.training.watch.flush()
        step, started = self.training.step, time.perf_counter()
        with evaluation_weights(self.training.model, self.training.tricks):
            evaluation = self.evaluate() if distributed.is_main() else None
            evaluation = evaluation or Evaluation(math.nan, {})
            score = distributed.from_main(evaluation.score)
            is_best = self.training.early_stopping.observe(score, step=step)
            if is_best:
                self._publish()
        seconds = round(time.perf_counter() - started, 4)
        place = {"step": step, "epoch": self.training.batches.epoch, "split": "dev"}
        if step not in self._evaluated:  # a run that was killed in its last phase has it already
            self._record(place | evaluation.record | {"seconds": seconds})
        self.messages.note(f"step {step}: dev score {score:.4f}{' (best so far)' if is_best else ''}")
        for sample in evaluation.samples:
            self.messages.note(sample)
        return evaluation

    def _publish(self) -> None:
        if self.run is not None:
            with replace_directory(self.run.best_checkpoint) as temporary:
                self.publish(temporary)

    def _save(self) -> None:
        target = distributed.from_main(None if self.run is None else str(self.run.last_checkpoint))
        self.training.save(target, save_model=self.save_model)

    def _record(self, record: dict[str, Any]) -> None:
        if self.run is not None:
            self.run.metrics(record)
        if self._board is not None:
            self._board.write(record)

    @cached_property
    def _evaluated(self) -> set[int]:
        """The steps whose evaluation an earlier part of the run has recorded."""
        records = () if self.run is None else self.run.records()
        return {record["step"] for record in records if record.get("split") == "dev" and "step" in record}

    @cached_property
    def _board(self) -> TensorBoard | None:
        if self.run is None or not self.config.tensorboard:
            return None
        return TensorBoard(self.run.path / "tensorboard")

    def _stop_early(self) -> bool:
        return self.training.early_stopping.exhausted


def num_left(info: StepInfo, every: Every) -> int:
    """How often something is still due after a step, the end included; epochs are taken to be as long as so far."""
    left = info.total_steps - info.step
    if left == 0 or every is None:
        return 0 if left == 0 else 1
    if every == "epoch":
        finished = info.epoch + info.ends_epoch
        return max(1, round(left * finished / info.step)) if finished else 1
    return -(-info.total_steps // every) - info.step // every


def resume(training: Training, run: RunFolder | None, state: Path, messages: Messages) -> None:
    """Take back what `state` holds, and drop the records of steps that are made anew."""
    training.load(state, load_model=_load_weights)
    if run is not None:
        run.truncate_metrics(training.step)
        messages.note(f"resumed {run.path} after step {training.step}")


def _load_weights(model: Any, directory: Path) -> None:
    model.load_weights(directory)


class _Clock:
    """Tokens per second of training alone, without evaluating and saving."""

    def __init__(self) -> None:
        self.tokens = 0
        self.seconds = 0.0
        self.restart()

    def restart(self) -> None:
        self.since = time.perf_counter()

    def add(self, tokens: int) -> None:
        now = time.perf_counter()
        self.tokens, self.seconds, self.since = self.tokens + tokens, self.seconds + now - self.since, now

    def rate(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0
