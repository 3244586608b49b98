"""BERT, and models with other weights alone: RoBERTa-wwm, MacBERT, SimBERT, WoBERT, the UER miniatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import bert_style_config, bert_style_export, by_model_type, has_no_model_type
from nlpx.models.checkpoints.names import (
    NameMap,
    bert_style,
    learned_positions,
    masked_language_head,
    pooler_and_sentence_head,
)
from nlpx.models.config import ModelConfig

MODEL_TYPE = "bert"
PREFIX = "bert."
NAMES = bert_style("bert") | learned_positions("bert") | masked_language_head() | pooler_and_sentence_head("bert")


def recognise(checkpoint: Checkpoint) -> str | None:
    """By `model_type`, else by a learned position table under BERT's names."""
    if has_no_model_type(checkpoint):
        names = checkpoint.names()
        stored = any(name.endswith("embeddings/position_embeddings") for name in names) or any(
            name.endswith("embeddings.position_embeddings.weight") for name in names
        )
        layered = any("/layer_0/" in name or ".layer.0." in name for name in names)
        is_electra = any(name.startswith("electra") for name in names)
        return "a learned position table under BERT's names" if stored and layered and not is_electra else None
    return by_model_type(checkpoint, "bert")


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """BERT's configuration is nearly ours."""
    return bert_style_config(raw, tensors) | {"position": "learned"}


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Refuses a word table of another width and shared layers, which transformers' BERT lacks."""
    values = bert_style_export(config, embedding_size=(config.hidden_size,), share_layers=("none",))
    return values | {"architectures": [_architecture(config)]}


def _architecture(config: ModelConfig) -> str:
    if "classification" in config.heads:
        return "BertForSequenceClassification"
    if "sentence" in config.heads:
        return "BertForPreTraining" if "lm" in config.heads else "BertForNextSentencePrediction"
    if "lm" in config.heads:
        return "BertLMHeadModel" if config.mask == "causal" else "BertForMaskedLM"
    return "BertModel"
