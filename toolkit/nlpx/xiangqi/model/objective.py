"""Learning moves: the objective of every causal language model, over those moves that are to be learned."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from nlpx.data.batches.masking import SpecialIds, row_generator
from nlpx.objectives import ObjectiveOutput, lm
from nlpx.xiangqi.model.games import TrainingGames


class MoveObjective:
    """Predicts each move from those before it; batches are `TrainingGames`' rows, padded."""

    OUTPUTS = lm.Objective.OUTPUTS

    def __init__(self, *, seed: int) -> None:
        # Games have no special token but padding, so what the other ids would be for never happens.
        self.lm = lm.Objective(lm.Config(), SpecialIds(0, 0, 0, 0, 0, 1, frozenset()))
        self.seed = seed

    def keep(self, outputs: Collection[str]) -> None:
        """Give these outputs in training too."""
        self.lm.keep_logits = "logits" in outputs

    def batch(
        self, games: TrainingGames, indices: Sequence[int], *, epoch: int, plies: int | None = None, purpose: str = ""
    ) -> dict[str, Any]:
        """A batch of these games; `plies` truncates them. What is drawn depends on seed, epoch and game alone."""
        generators = [row_generator(self.seed, epoch, index, f"{purpose}moves") for index in indices]
        pairs = [games.row(index, random, plies=plies) for index, random in zip(indices, generators, strict=True)]
        batch = self.lm.batch([row for row, _ in pairs], generators)
        width = batch["token_ids"].shape[1]
        learned = np.zeros((len(pairs), width), dtype=bool)
        for row, (_, targets) in enumerate(pairs):
            learned[row, : len(targets)] = targets
        kept = torch.from_numpy(learned.reshape(-1))[batch["lm_positions"] + 1]
        chosen = {name: batch[name][kept] for name in ("lm_positions", "targets")}
        return batch | chosen | {"num_targets": int(kept.sum())}

    def __call__(self, model: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        """Mean negative log-likelihood of a token, in nats."""
        return self.lm(model, batch)


class MoveTally:
    """Sums over the moves of a batch or many: log-probability, and whether the model would have written the move."""

    def __init__(self, per_move: int) -> None:
        self.per_move = per_move
        self.num_moves, self.num_correct, self.log_probability = 0, 0, 0.0

    def add(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Count whole moves: logits (N, V) and targets (N,), the tokens of a move next to each other."""
        scores = logits.float().log_softmax(dim=-1).gather(1, targets[:, None])[:, 0]
        hits = (logits.argmax(dim=-1) == targets).unflatten(0, (-1, self.per_move)).all(dim=1)
        self.num_moves += len(hits)
        self.num_correct += int(hits.sum())
        self.log_probability += float(scores.double().sum())

    def figures(self) -> dict[str, float]:
        """Loss and perplexity of a move, and the share that is the first choice."""
        count = max(self.num_moves, 1)
        loss = -self.log_probability / count
        perplexity = float(np.exp(min(loss, 700.0)))
        return {"loss": loss, "perplexity": perplexity, "accuracy": self.num_correct / count, "moves": self.num_moves}
