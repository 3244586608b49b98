"""GPT2-ML (imcaspar/gpt2-ml), a Grover in spite of its name: summed embeddings are normalised, and each block has a
norm before its feed-forward and one after it, none before its attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import (
    bert_style_config,
    by_model_type,
    has_no_model_type,
    no_counterpart,
)
from nlpx.models.checkpoints.names import NameMap, Names
from nlpx.models.config import ModelConfig

MODEL_TYPE = "gpt2_ml"
PREFIX = "newslm/"
_BLOCK = "newslm/layer{i:0>2}"
NAMES = {
    "embeddings.word_embeddings": Names((), ("newslm/embeddings/word_embed",)),
    "embeddings.position_embeddings": Names((), ("newslm/embeddings/pos_embed",)),
    "embeddings.norm": Names((), ("newslm/embeddings/LayerNorm_embed_norm",)),
    **{f"layers.{{i}}.attention.{part}": Names((), (f"{_BLOCK}/{part}_layer",)) for part in ("query", "key", "value")},
    "layers.{i}.attention.output": Names((), (f"{_BLOCK}/context_projection_layer",)),
    "layers.{i}.attention_norm": Names((), (f"{_BLOCK}/LayerNorm_mlp_ln0",)),
    "layers.{i}.feed_forward.input": Names((), (f"{_BLOCK}/intermediate",)),
    "layers.{i}.feed_forward.output": Names((), (f"{_BLOCK}/output",)),
    "layers.{i}.feed_forward_norm": Names((), (f"{_BLOCK}/LayerNorm_mlp_ln1",)),
}


def recognise(checkpoint: Checkpoint) -> str | None:
    """By its variables, which start with `newslm`."""
    if not has_no_model_type(checkpoint):
        return by_model_type(checkpoint, MODEL_TYPE)
    named = "newslm/embeddings/word_embed" in checkpoint.names()
    return "its variables start with `newslm`" if named else None


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """A configuration in BERT's words; norms have an epsilon of 1e-5, which it does not say."""
    return bert_style_config(raw, tensors) | {
        "position": "learned",
        "max_position_embeddings": raw.get("max_position_embeddings", 1024),
        "type_vocab_size": 0,
        "norm_eps": 1e-5,
        "norm_place": "grover",
        "mask": "causal",
        "heads": ["lm"],
        "lm_transform": False,
        "lm_bias": False,
    }


def write_config(_config: ModelConfig) -> dict[str, Any]:
    """Always refuses: transformers has no such model."""
    raise no_counterpart("norm_place `grover`")
