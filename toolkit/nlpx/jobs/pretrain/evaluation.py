"""Loss and accuracy of every objective on rows held out, with the same masks and splits each time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from nlpx.data.batches.bucketing import evaluation_batches
from nlpx.jobs.pretrain.mix import Mix
from nlpx.tasks import Evaluation
from nlpx.train.config import Precision
from nlpx.train.precision import autocast, resolve_precision

if TYPE_CHECKING:
    from nlpx.data.batches.packing import PackedRows

BATCH_TOKENS = 4096  # a language model's logits are this many times the vocabulary
COLUMNS = ("objective", "loss", "perplexity", "accuracy", "targets")  # unless the objective has its own


class HeldOutRows:
    """The rows of an evaluation; `limit` of them, spread evenly, if there are more."""

    def __init__(self, rows: PackedRows, mix: Mix, *, limit: int, device: torch.device, precision: Precision) -> None:
        self.rows, self.mix, self.device = rows, mix, device
        self.precision, _ = resolve_precision(precision, device=device)
        self.batches = evaluation_batches(rows.lengths, limit=limit, batch_tokens=BATCH_TOKENS)

    def evaluate(self, model: Any) -> Evaluation:
        """Score the weights that the model holds now: by the first objective's accuracy, or what it has instead."""
        was_training = model.training
        model.eval()
        try:
            with torch.inference_mode(), autocast(self.precision, device=self.device):
                found = {name: self._figures(model, name) for name in self.mix.objectives}
        finally:
            model.train(was_training)
        name, objective = next(iter(self.mix.objectives.items()))
        score = objective.score(found[name]) if hasattr(objective, "score") else found[name]["accuracy"]
        record = {"score": score, "score_is": objective.ACCURACY, "loss": found[name]["loss"], "objectives": found}
        return Evaluation(score, record, table(record), columns(self.mix))

    def _figures(self, model: Any, name: str) -> dict[str, Any]:
        objective, total, correct, num_targets = self.mix.objectives[name], 0.0, 0, 0
        if hasattr(objective, "tally"):
            return self._own_figures(model, name)
        for batch in self._made(name):
            loss = objective(model, batch)
            total += float(loss.loss) * batch["num_targets"]
            correct += objective.num_correct(loss.outputs, batch)
            num_targets += batch["num_targets"]
        count = max(num_targets, 1)
        loss = total / count
        perplexity = math.exp(min(loss, 700))
        return {"loss": loss, "perplexity": perplexity, "accuracy": correct / count, "targets": num_targets}

    def _own_figures(self, model: Any, name: str) -> dict[str, Any]:
        objective, tallies = self.mix.objectives[name], Counter[str]()
        for batch in self._made(name):
            tallies.update(objective.tally(objective(model, batch).outputs, batch))
        figures: dict[str, Any] = objective.figures(tallies)
        return figures

    def _made(self, name: str) -> Iterator[dict[str, Any]]:
        for indices in self.batches:
            batch = self.mix.batch(self.rows, indices, name=name, epoch=0, purpose="evaluation ")
            yield {key: part.to(self.device) if isinstance(part, torch.Tensor) else part for key, part in batch.items()}


def columns(mix: Mix) -> Sequence[str]:
    """What the table of an evaluation shows: as the first objective has it."""
    return getattr(next(iter(mix.objectives.values())), "COLUMNS", COLUMNS)


def table(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of an evaluation's record, one line an objective."""
    return [{"objective": name, **figures} for name, figures in record["objectives"].items()]
