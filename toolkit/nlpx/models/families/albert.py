"""ALBERT: one block for every layer and a narrow word table. Loads unshared too (`share_layers=none`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.errors import InputError
from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import (
    bert_style_config,
    bert_style_export,
    by_model_type,
    has_no_model_type,
    no_counterpart,
)
from nlpx.models.checkpoints.names import NameMap, Names, bert_style, learned_positions
from nlpx.models.config import ModelConfig

MODEL_TYPE = "albert"
PREFIX = "albert."
_BLOCK = "albert.encoder.albert_layer_groups.0.albert_layers.0"
_TF_BLOCK = "bert/encoder/transformer/group_0/inner_group_0"
_PREDICTIONS = "cls/predictions"
NAMES = {
    **{name: names for name, names in bert_style("albert").items() if name.startswith("embeddings.")},
    **learned_positions("albert"),
    "embeddings.project": Names(
        ("albert.encoder.embedding_hidden_mapping_in",), ("bert/encoder/embedding_hidden_mapping_in",)
    ),
    **{
        f"layers.{{i}}.attention.{part}": Names(
            (f"{_BLOCK}.attention.{part}",), (f"{_TF_BLOCK}/attention_1/self/{part}",)
        )
        for part in ("query", "key", "value")
    },
    "layers.{i}.attention.output": Names((f"{_BLOCK}.attention.dense",), (f"{_TF_BLOCK}/attention_1/output/dense",)),
    "layers.{i}.attention_norm": Names((f"{_BLOCK}.attention.LayerNorm",), (f"{_TF_BLOCK}/LayerNorm",)),
    "layers.{i}.feed_forward.input": Names((f"{_BLOCK}.ffn",), (f"{_TF_BLOCK}/ffn_1/intermediate/dense",)),
    "layers.{i}.feed_forward.output": Names(
        (f"{_BLOCK}.ffn_output",), (f"{_TF_BLOCK}/ffn_1/intermediate/output/dense",)
    ),
    "layers.{i}.feed_forward_norm": Names((f"{_BLOCK}.full_layer_layer_norm",), (f"{_TF_BLOCK}/LayerNorm_1",)),
    "pooler.dense": Names(("albert.pooler",), ("bert/pooler/dense",)),
    "lm_head.dense": Names(("predictions.dense",), (f"{_PREDICTIONS}/transform/dense",)),
    "lm_head.norm": Names(("predictions.LayerNorm",), (f"{_PREDICTIONS}/transform/LayerNorm",)),
    "lm_head.bias": Names(
        ("predictions.decoder.bias", "predictions.bias"),
        (f"{_PREDICTIONS}/output_bias",),
        copies=("predictions.bias",),
    ),
    "lm_head.decoder": Names(("predictions.decoder.weight",)),
    "sentence_head.weight": Names(("sop_classifier.classifier.weight",), ("cls/seq_relationship/output_weights",)),
    "sentence_head.bias": Names(("sop_classifier.classifier.bias",), ("cls/seq_relationship/output_bias",)),
    "classifier.linear": Names(("classifier",)),
}


def recognise(checkpoint: Checkpoint) -> str | None:
    """By `model_type`, else by the one shared block."""
    if has_no_model_type(checkpoint):
        shared = any("inner_group_0" in name or "albert_layer_groups" in name for name in checkpoint.names())
        return "one block shared by all layers" if shared else None
    return by_model_type(checkpoint, "albert")


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """As BERT's with ALBERT's defaults; more than one group or inner layer is not supported."""
    for key in ("num_hidden_groups", "inner_group_num"):
        if raw.get(key, 1) != 1:
            raise InputError(
                f"{tensors.checkpoint.path}: {key} {raw[key]} is not supported: no release has more than 1"
            )
    values = bert_style_config({"hidden_act": "gelu_new"} | dict(raw), tensors)
    return values | {"position": "learned", "share_layers": "all"}


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Refuses unshared layers and word vectors without a map: transformers' ALBERT has one block and always a map."""
    is_wide = config.embedding_size == config.hidden_size
    values = bert_style_export(config, share_layers=("all",), project_embeddings=(is_wide,))
    if config.mask != "bidirectional":
        raise no_counterpart(f"mask `{config.mask}` of an ALBERT")
    architecture = "AlbertModel"
    if "classification" in config.heads:
        architecture = "AlbertForSequenceClassification"
    elif "sentence" in config.heads:
        architecture = "AlbertForPreTraining"
    elif "lm" in config.heads:
        architecture = "AlbertForMaskedLM"
    return values | {"embedding_size": config.embedding_size, "architectures": [architecture]}
