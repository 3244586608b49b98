"""NEZHA and WoNEZHA: BERT with fixed relative positions in keys and values instead of a position table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import (
    bert_style_config,
    by_model_type,
    has_no_model_type,
    no_counterpart,
    without_position_table,
)
from nlpx.models.checkpoints.names import (
    NameMap,
    bert_style,
    masked_language_head,
    pooler_and_sentence_head,
    with_prefix_of_bert,
)
from nlpx.models.config import ModelConfig

MODEL_TYPE = "nezha"
PREFIX = "nezha."
# Conversions for PyTorch keep BERT's prefix.
NAMES = with_prefix_of_bert(bert_style("nezha") | masked_language_head() | pooler_and_sentence_head("nezha"), PREFIX)


def recognise(checkpoint: Checkpoint) -> str | None:
    """By its relative positions or `model_type`, or by variables without a position table (as RoFormer's)."""
    if reason := by_relative_positions(checkpoint):
        return reason
    if not has_no_model_type(checkpoint):
        return by_model_type(checkpoint, "nezha")
    return without_position_table(checkpoint)


def by_relative_positions(checkpoint: Checkpoint) -> str | None:
    """The reason if only NEZHA can be meant: its buffers are stored, or the configuration bounds its distances."""
    if checkpoint.config.get("model_type") not in (None, "", "bert", "nezha"):
        return None
    if any("relative_positions_encoding" in name for name in checkpoint.names()):
        return "its buffers of relative positions are stored"
    if checkpoint.config.get("use_relative_position"):
        return "the configuration says use_relative_position"
    stored = any("position_embeddings" in name for name in checkpoint.names())
    if checkpoint.config.get("max_relative_position") and not stored:
        return "the configuration has max_relative_position, and no position table is stored"
    return None


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """As BERT's; distances beyond 64 share one vector."""
    return bert_style_config(raw, tensors) | {
        "position": "relative",
        "max_relative_position": raw.get("max_relative_position", 64),
    }


def write_config(_config: ModelConfig) -> dict[str, Any]:
    """Always refuses: NEZHA left transformers with version 5."""
    raise no_counterpart("position `relative` (NEZHA left transformers with version 5)")
