"""RoFormer (rotary positions), RoFormer-Sim with its linear pooler, and chinese_char and word releases alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nlpx.errors import InputError
from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import (
    bert_style_config,
    bert_style_export,
    has_no_model_type,
    no_counterpart,
    without_position_table,
)
from nlpx.models.checkpoints.head_evidence import roformer_pooler
from nlpx.models.checkpoints.names import (
    NameMap,
    Names,
    bert_style,
    dense_classifier,
    masked_language_head,
    pooler_and_sentence_head,
)
from nlpx.models.config import ModelConfig
from nlpx.models.families import nezha, roformer_v2
from nlpx.models.positions import sinusoids

MODEL_TYPE = "roformer"
PREFIX = "roformer."
NAMES = (
    bert_style("roformer")
    | masked_language_head()
    | pooler_and_sentence_head("roformer")
    | dense_classifier()
    | {
        "embeddings.project": Names(
            ("roformer.embeddings_project",),
            ("roformer/embeddings_project", "bert/encoder/embedding_hidden_mapping_in"),
        )
    }
)


def recognise(checkpoint: Checkpoint) -> str | None:
    """By `model_type`, or by BERT's variables without a position table (which fits NEZHA too)."""
    if roformer_v2.recognise(checkpoint):
        return None
    if has_no_model_type(checkpoint):
        is_nezha = nezha.by_relative_positions(checkpoint) is not None
        return None if is_nezha else without_position_table(checkpoint)
    return "config.json says model_type roformer" if checkpoint.config["model_type"] == "roformer" else None


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """As BERT's; a stored pooler is RoFormer-Sim's and linear, unless something says that it has a tanh."""
    if raw.get("rotary_value"):
        raise InputError(f"{tensors.checkpoint.path}: rotary_value true is not supported: no release rotates values")
    values = bert_style_config(raw, tensors) | {"position": "rotary"}
    if values["pooler"] != "none":
        values["pooler"] = roformer_pooler(raw, tensors)[0]
    if values.get("classification_transform", "none") != "none":
        values["classification_transform"] = values["hidden_act"]
    values["max_position_embeddings"] = raw.get("max_position_embeddings", 1536)
    return values


def recomputed_tensors(config: ModelConfig) -> dict[str, Tensor]:
    """The fixed sinusoid table that transformers stores with the weights: all sines, then all cosines."""
    table = sinusoids(config.max_position_embeddings, config.key_size)
    return {"roformer.encoder.embed_positions.weight": torch.cat([table[:, 0::2], table[:, 1::2]], dim=1)}


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Refuses a pooler, which transformers' RoFormer lacks, and a classifier other than its own."""
    if config.pooler != "none":
        raise no_counterpart(f"pooler `{config.pooler}` of a RoFormer")
    learned = config.with_choices(position="learned")
    values = bert_style_export(learned, dense_classifier=True, share_layers=("none",))
    architecture = "RoFormerModel"
    if "lm" in config.heads:
        architecture = "RoFormerForCausalLM" if config.mask == "causal" else "RoFormerForMaskedLM"
    if "classification" in config.heads:
        if config.classification_transform != config.hidden_act:
            raise no_counterpart(f"classification_transform `{config.classification_transform}` of this RoFormer")
        architecture = "RoFormerForSequenceClassification"
    return values | {
        "embedding_size": config.embedding_size,
        "rotary_value": False,
        "architectures": [architecture],
    }
