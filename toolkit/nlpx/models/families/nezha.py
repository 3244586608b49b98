"""NEZHA and WoNEZHA: BERT with fixed relative positions in keys and values instead of a position table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import bert_style_config, by_model_type, has_no_model_type, no_counterpart
from nlpx.models.checkpoints.names import NameMap, bert_style, masked_language_head, pooler_and_sentence_head
from nlpx.models.config import ModelConfig
from nlpx.models.families.roformer import without_position_table

MODEL_TYPE = "nezha"
PREFIX = "nezha."
NAMES = bert_style("nezha") | masked_language_head() | pooler_and_sentence_head("nezha")


def recognise(checkpoint: Checkpoint) -> str | None:
    """By `model_type` or `use_relative_position`, or by variables without a position table (as RoFormer's)."""
    if not has_no_model_type(checkpoint):
        return by_model_type(checkpoint, "nezha")
    if checkpoint.config.get("use_relative_position"):
        return "the configuration says use_relative_position"
    return without_position_table(checkpoint)


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """As BERT's; distances beyond 64 share one vector."""
    return bert_style_config(raw, tensors) | {
        "position": "relative",
        "max_relative_position": raw.get("max_relative_position", 64),
    }


def write_config(_config: ModelConfig) -> dict[str, Any]:
    """Always refuses: NEZHA left transformers with version 5."""
    raise no_counterpart("position `relative` (NEZHA left transformers with version 5)")
