"""Pairs of a source and a target, their batches, and a small model that writes, for tests only."""

from __future__ import annotations

from typing import Any

import torch

import tiny
from nlpx.data.rows.source_target import SourceTarget
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
from nlpx.tasks.seq2seq import Config, Task
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocab import Vocab

TOKENIZER = CharTokenizer(Vocab(tiny.VOCAB, source="tiny"))
PAIRS = [("春夏秋冬", "风雨"), ("雷", "电山川"), ("湖海日月星云", "花")]


def rows(pairs: Any = PAIRS) -> list[SourceTarget]:
    return [SourceTarget(source, target, None, {"source": source}) for source, target in pairs]


def task(**options: Any) -> Task:
    return Task(Config.model_validate({"max_target_length": 4} | options))


def batch_of(given: Task, pairs: Any = PAIRS, *, max_length: int = 24) -> dict[str, Any]:
    encoded = given.encode(rows(pairs), TOKENIZER, max_length)
    return given.collate(encoded, range(len(pairs)), TOKENIZER.pad_token_id or 0)


def model(**choices: Any) -> Transformer:
    torch.manual_seed(3)
    values: dict[str, Any] = {
        "vocab_size": len(tiny.VOCAB),
        "hidden_size": 16,
        "num_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "heads": ("lm",),
        "position": "rotary",
        "initializer_range": 0.3,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }
    return Transformer(ModelConfig(**(values | choices)))
