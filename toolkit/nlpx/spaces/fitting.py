"""Training extractors over folds, so that every document has an extract by a model that has not seen it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from nlpx.spaces.extractor import Extractor, loss, padded


@dataclass(frozen=True, slots=True)
class Example:
    """A document: the vectors of its clauses (N, D), and which of them are to be taken (N,)."""

    vectors: Tensor
    labels: Tensor


def folds(num_documents: int, num_folds: int, seed: int) -> list[int]:
    """The fold of each document: its place in one random permutation, modulo the number of folds."""
    order = list(range(num_documents))
    random.Random(seed).shuffle(order)
    found = [0] * num_documents
    for place, document in enumerate(order):
        found[document] = place % num_folds
    return found


def fit(
    examples: Sequence[Example],
    score: Callable[[Extractor], float],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> tuple[Extractor, list[float]]:
    """Train an extractor; of its epochs, the one with the highest `score` is kept. Also the scores of all epochs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Extractor(examples[0].vectors.shape[1])
        optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
        scores: list[float] = []
        best = deepcopy(model.state_dict())
        for _ in range(epochs):
            model.train()
            for rows in torch.randperm(len(examples), generator=generator).split(batch_size):
                _update(model, optimizer, [examples[int(row)] for row in rows])
            scores.append(score(model.eval()))
            if scores[-1] == max(scores) and scores.count(scores[-1]) == 1:
                best = deepcopy(model.state_dict())
    model.load_state_dict(best)
    return model.eval(), scores


def _update(model: Extractor, optimizer: torch.optim.Optimizer, batch: Sequence[Example]) -> None:
    vectors, mask = padded([example.vectors for example in batch])  # (B, N, D), (B, N)
    labels = torch.nn.utils.rnn.pad_sequence([example.labels for example in batch], batch_first=True)  # (B, N)
    optimizer.zero_grad(set_to_none=True)
    loss(model(vectors, mask), labels, mask).backward()
    optimizer.step()
