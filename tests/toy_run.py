"""A small classifier with everything a run can have (dropout, accumulation, shuffling, EMA), for tests only.

As a script it trains in a process of its own, also under torchrun: `toy_run.py OUT [key=value ...]` writes
the losses and weights to OUT. `kill=PLACE` ends the process by SIGKILL in the middle of its second save.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from nlpx.losses.cross_entropy import Config as CrossEntropyConfig
from nlpx.losses.cross_entropy import Loss as CrossEntropy
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.objectives import ObjectiveOutput
from nlpx.optim.config import OptimConfig, ScheduleConfig
from nlpx.train import distributed
from nlpx.train import state as train_state
from nlpx.train.config import TrainConfig
from nlpx.train.loop import prepare, train
from nlpx.tricks.ema import Config as EmaConfig

cross_entropy = CrossEntropy(CrossEntropyConfig())

VOCAB, NUM_CLASSES = 40, 3


class ToyModel(nn.Module):
    """Mean of embeddings, one hidden layer, a norm, logits; both kinds of dropout."""

    def __init__(self, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.noise_pool = NoisePool(refresh_every=3)
        self.embedding = nn.Embedding(VOCAB, 16)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(16, 16)
        self.pool_dropout = Dropout(dropout, self.noise_pool)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, NUM_CLASSES)
        self.unused = nn.Linear(2, 2)  # a model may have parts that a task does not touch

    def forward(self, token_ids, attention_mask):
        weights = attention_mask.unsqueeze(-1).float()
        pooled = (self.dropout(self.embedding(token_ids)) * weights).sum(1) / weights.sum(1)
        return self.head(self.norm(self.pool_dropout(torch.relu(self.hidden(pooled)))))


def make_rows(count: int = 90) -> list[tuple[list[int], int]]:
    """Rows of 2 to 20 tokens whose class shows in one of them."""
    generator = random.Random(5)
    rows = []
    for _ in range(count):
        label = generator.randrange(NUM_CLASSES)
        tokens = [generator.randrange(NUM_CLASSES, VOCAB) for _ in range(generator.randint(1, 19))]
        rows.append(([*tokens, label], label))
    return rows


ROWS = make_rows()


def collate(indices: list[int]) -> dict:
    chosen = [ROWS[index] for index in indices]
    width = max(len(tokens) for tokens, _ in chosen)
    token_ids = torch.zeros(len(chosen), width, dtype=torch.int64)
    for position, (tokens, _) in enumerate(chosen):
        token_ids[position, : len(tokens)] = torch.tensor(tokens)
    lengths = torch.tensor([len(tokens) for tokens, _ in chosen])
    return {
        "token_ids": token_ids,
        "attention_mask": torch.arange(width) < lengths[:, None],
        "labels": torch.tensor([label for _, label in chosen]),
        "num_targets": len(chosen),
    }


def objective(model, batch) -> ObjectiveOutput:
    logits = model(batch["token_ids"], batch["attention_mask"])
    return ObjectiveOutput(cross_entropy({"logits": logits}, batch), {"logits": logits})


def twice(model, batch) -> ObjectiveOutput:
    """An objective with two forward passes, as R-Drop has."""
    first, second = (model(batch["token_ids"], batch["attention_mask"]) for _ in range(2))
    assert model.head.out_features == NUM_CLASSES  # attributes are reached through a replica too
    return ObjectiveOutput(cross_entropy({"logits": first}, batch) / 2 + cross_entropy({"logits": second}, batch) / 2)


OPTIM = OptimConfig(
    learning_rate=0.02,
    rules=[{"pattern": "head*", "learning_rate_scale": 2.0}],
    schedule=ScheduleConfig(warmup_steps=4),
)


def build(*, seed=3, dropout=0.1, tricks=None, optim=OPTIM, label_entropy=None, **settings):
    """A fresh run and its configuration."""
    torch.set_num_threads(1)  # sums are split by thread: another number of them, other last bits
    torch.manual_seed(seed)
    size = {} if "batch_size" in settings else {"batch_tokens": 100}
    defaults = {"steps": 20, "accumulation": 2, "precision": "float32"} | size
    config = TrainConfig.model_validate(defaults | settings)
    tricks = {"ema": EmaConfig(decay=0.9)} if tricks is None else tricks
    lengths = [len(tokens) for tokens, _ in ROWS]
    training = prepare(
        ToyModel(dropout=dropout),
        lengths=lengths,
        config=config,
        optim=optim,
        tricks=tricks,
        seed=seed,
        label_entropy=label_entropy,
    )
    return training, config


def run(training, config, *, stop=None, objective=objective) -> list[float]:
    """Train to the end, or to step `stop`; returns the losses."""
    losses = []
    for info in train(training, objective=objective, collate=collate, config=config):
        losses.append(info.loss)
        if info.step == stop:
            break
    return losses


def weights(training) -> dict[str, torch.Tensor]:
    """Copies of the weights and of their average."""
    found = {name: value.detach().clone() for name, value in training.model.named_parameters()}
    for named in training.tricks:
        found |= {f"{named.name}/{name}": value.clone() for name, value in named.trick.state_dict()["average"].items()}
    return found


def kill_at(place: str) -> None:
    """From now on, die without a trace at that place of a save."""

    def die(*_arguments, **_keywords):
        os.kill(os.getpid(), signal.SIGKILL)

    if place == "between_files":
        Path.write_text = die  # the tensors are written, the JSON is not
    elif place == "before_rename":
        Path.replace = die
    elif place == "between_renames":
        rename = Path.replace
        Path.replace = lambda path, target: rename(path, target) if str(target).endswith(".old") else die()
    elif place == "before_files":
        train_state.write_state = die


def main() -> None:
    out = Path(sys.argv[1])
    options = dict(item.split("=", 1) for item in sys.argv[2:])
    kill, double = options.pop("kill", None), options.pop("twice", None)
    settings = {key: json.loads(value) for key, value in options.items()}
    with distributed.process_group():
        training, config = build(**settings)
        last, losses, seen_by_all = out / "last", [], []
        chosen = twice if double else objective
        for info in train(training, objective=chosen, collate=collate, config=config):
            losses.append(info.loss)
            if info.step == 7:
                training.save(last)
            if info.step == 12 and kill is not None:
                kill_at(kill)
                training.save(last)
        seen_by_all = distributed.gather(losses)
        if distributed.is_main():
            save_file(weights(training), out / "weights.safetensors")
            (out / "losses.json").write_text(json.dumps(seen_by_all))


if __name__ == "__main__":
    main()
