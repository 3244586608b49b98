"""ELECTRA generators and discriminators: BERT with a word table of its own width and no pooler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import (
    bert_style_config,
    bert_style_export,
    by_model_type,
    has_no_model_type,
    no_counterpart,
)
from nlpx.models.checkpoints.names import NameMap, Names, bert_style, dense_classifier, learned_positions
from nlpx.models.config import ModelConfig

MODEL_TYPE = "electra"
PREFIX = "electra."
NAMES = (
    bert_style("electra")
    | learned_positions("electra")
    | {
        "embeddings.project": Names(("electra.embeddings_project",), ("electra/embeddings_project",)),
        "lm_head.dense": Names(("generator_predictions.dense",), ("generator_predictions/dense",)),
        "lm_head.norm": Names(("generator_predictions.LayerNorm",), ("generator_predictions/LayerNorm",)),
        "lm_head.bias": Names(("generator_lm_head.bias",), ("generator_predictions/output_bias",)),
        "lm_head.decoder": Names(("generator_lm_head.weight",)),
        "discriminator.dense": Names(("discriminator_predictions.dense",), ("discriminator_predictions/dense",)),
        "discriminator.prediction": Names(
            ("discriminator_predictions.dense_prediction",), ("discriminator_predictions/dense_1",)
        ),
    }
    | dense_classifier()
)


def recognise(checkpoint: Checkpoint) -> str | None:
    """By `model_type`, else by variables that start with `electra`."""
    if has_no_model_type(checkpoint):
        named = any(name.startswith(("electra/", "electra.")) for name in checkpoint.names())
        return "its variables start with `electra`" if named else None
    return by_model_type(checkpoint, "electra")


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """As BERT's. Released TensorFlow configurations may lack `type_vocab_size`: it is read off the table."""
    return bert_style_config(raw, tensors) | {"position": "learned"}


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Refuses a pooler, which ELECTRA lacks, and a classifier without its dense map and GELU."""
    values = bert_style_export(config, dense_classifier=True, share_layers=("none",), pooler=("none",))
    architecture = "ElectraModel"
    if "classification" in config.heads:
        if config.classification_transform != "gelu":
            raise no_counterpart(f"classification_transform `{config.classification_transform}` of an ELECTRA")
        architecture = "ElectraForSequenceClassification"
    elif "lm" in config.heads:
        architecture = "ElectraForMaskedLM"
    elif "discriminator" in config.heads:
        architecture = "ElectraForPreTraining"
    return values | {"embedding_size": config.embedding_size, "architectures": [architecture]}
