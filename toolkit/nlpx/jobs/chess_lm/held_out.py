"""How well the held-out games are predicted: loss and perplexity of a move, and how many are the first choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from nlpx.data.batches.bucketing import evaluation_batches
from nlpx.tasks import Evaluation
from nlpx.train.config import Precision
from nlpx.train.precision import autocast, resolve_precision
from nlpx.xiangqi.model.objective import MoveObjective, MoveTally

if TYPE_CHECKING:
    from nlpx.xiangqi.model.games import TrainingGames

BATCH_TOKENS = 8192  # padded, of one forward pass without gradients
SCORE = "move accuracy"
COLUMNS = ("moves", "loss", "perplexity", "accuracy")


class HeldOut:
    """The games of an evaluation: `limit` of them, spread evenly, if there are more."""

    def __init__(self, games: TrainingGames, *, limit: int, device: torch.device, precision: Precision) -> None:
        self.games, self.device = games, device
        self.precision, _ = resolve_precision(precision, device=device)
        self.batches = evaluation_batches(games.lengths, limit=limit, batch_tokens=BATCH_TOKENS)

    def evaluate(self, model: Any, objective: MoveObjective) -> Evaluation:
        """Score the weights that the model holds now, by the fraction of moves that are its first choice."""
        was_training, tally = model.training, MoveTally(self.games.vocabulary.per_move)
        model.eval()
        try:
            with torch.inference_mode(), autocast(self.precision, device=self.device):
                for indices in self.batches:
                    batch = self._made(objective, indices)
                    tally.add(objective(model, batch).outputs["logits"], batch["targets"])
        finally:
            model.train(was_training)
        figures = tally.figures()
        record = {"score": figures["accuracy"], "score_is": SCORE, **figures}
        return Evaluation(figures["accuracy"], record, table(record), COLUMNS)

    def _made(self, objective: MoveObjective, indices: list[int]) -> dict[str, Any]:
        batch = objective.batch(self.games, indices, epoch=0, purpose="evaluation ")
        return {key: part.to(self.device) if isinstance(part, torch.Tensor) else part for key, part in batch.items()}


def table(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of an evaluation's record as the one line of its table."""
    return [{name: record[name] for name in COLUMNS}]
