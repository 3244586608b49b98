"""Packed rows and models for the tests of objectives, for tests only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nlpx.data.batches.masking import SpecialIds, row_generator
from nlpx.data.batches.packing import PackedRow
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer

PAD, UNK, CLS, SEP, MASK = range(5)
VOCAB = 60
SPECIAL = SpecialIds(pad=PAD, unk=UNK, cls=CLS, sep=SEP, mask=MASK, vocab_size=VOCAB, specials=frozenset(range(5)))


def row(*documents: Sequence[int]) -> PackedRow:
    """[CLS] tokens [SEP] of each document; every second token continues the word before it."""
    parts: dict[str, list[Any]] = {"token_ids": [], "word_starts": [], "document_ids": [], "is_special": []}
    for number, tokens in enumerate(documents):
        size = len(tokens) + 2
        parts["token_ids"] += [CLS, *tokens, SEP]
        parts["word_starts"] += [False, *(index % 2 == 0 for index in range(len(tokens))), False]
        parts["document_ids"] += [number] * size
        parts["is_special"] += [True, *[False] * len(tokens), True]
    kinds = {"token_ids": np.int64, "document_ids": np.int64}
    return PackedRow(**{name: np.array(values, dtype=kinds.get(name, bool)) for name, values in parts.items()})


def random_rows(*shapes: Sequence[int], seed: int = 0) -> list[PackedRow]:
    """Rows whose documents have so many tokens each."""
    random = np.random.default_rng(seed)
    return [row(*(random.integers(5, VOCAB, size).tolist() for size in shape)) for shape in shapes]


def generators(count: int, *, epoch: int = 0) -> list[np.random.Generator]:
    """One for each row."""
    return [row_generator(3, epoch, index, "test") for index in range(count)]


def model(**choices: Any) -> Transformer:
    """A small model without dropout."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    values: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "num_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "position": "rotary",
        "heads": ("lm",),
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }
    return Transformer(ModelConfig(**(values | choices)))


def overfitted(
    objective: Any, rows: Sequence[PackedRow], network: Transformer, *, below: float, steps: int = 600
) -> float:
    """The loss on one and the same batch once it is below this, at the latest after so many updates.

    When that is depends on a processor's last bits, and at a constant rate the loss jumps: only whether it is reached
    is told.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    batch = objective.batch(rows, generators(len(rows)))
    for _ in range(steps):
        loss = objective(network, batch).loss
        optimizer.zero_grad()
        if float(loss.detach()) < below:
            break
        loss.backward()
        optimizer.step()
    return float(loss.detach())


class Rows:
    """Packed rows in memory, as `PackedRows` gives them."""

    def __init__(self, rows: list[PackedRow]) -> None:
        self.rows, self.lengths = rows, np.array([len(row.token_ids) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> PackedRow:
        return self.rows[index]
