"""BERT, and models with other weights alone: RoBERTa-wwm, MacBERT, SimBERT, WoBERT, the UER miniatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.errors import InputError
from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import bert_style_config, bert_style_export, by_model_type, has_no_model_type
from nlpx.models.checkpoints.names import (
    NameMap,
    Names,
    bert_style,
    learned_positions,
    masked_language_head,
    pooler_and_sentence_head,
)
from nlpx.models.config import ModelConfig
from nlpx.models.families import nezha

MODEL_TYPE = "bert"
PREFIX = "bert."
NAMES = (
    bert_style("bert")
    | learned_positions("bert")
    | masked_language_head()
    | pooler_and_sentence_head("bert")
    | {  # bert4keras stores a narrow word table under ALBERT's name for its map
        "embeddings.project": Names(
            ("bert.encoder.embedding_hidden_mapping_in",), ("bert/encoder/embedding_hidden_mapping_in",)
        )
    }
)


def recognise(checkpoint: Checkpoint) -> str | None:
    """By `model_type`, else by a learned position table under BERT's names; names settle what a wrong type says."""
    if nezha.by_relative_positions(checkpoint):
        return None
    if checkpoint.config.get("model_type") == "roberta" and all(
        any(name.startswith(start) for name in checkpoint.names()) is wanted
        for start, wanted in ((PREFIX, True), ("roberta.", False))
    ):
        return "config.json says roberta, the tensors are BERT's"
    if has_no_model_type(checkpoint):
        names = checkpoint.names()
        stored = any(name.endswith("embeddings/position_embeddings") for name in names) or any(
            name.endswith("embeddings.position_embeddings.weight") for name in names
        )
        layered = any("/layer_0/" in name or ".layer.0." in name for name in names)
        is_other = any(name.startswith(("electra", "gpt/")) for name in names)
        return "a learned position table under BERT's names" if stored and layered and not is_other else None
    return by_model_type(checkpoint, "bert")


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """BERT's configuration is nearly ours. Raises `InputError` for relative positions, which change the scores."""
    kind = raw.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise InputError(f"{tensors.checkpoint.path}: position_embedding_type {kind} is not supported, only absolute")
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
