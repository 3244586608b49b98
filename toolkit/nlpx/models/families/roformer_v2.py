"""RoFormerV2: rotary positions, no biases, RMS norms without scale, hidden states straight to the vocabulary.

x_hat = x / sqrt(mean(x^2) + eps); every release has all segment ids 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import bert_style_config, no_counterpart
from nlpx.models.checkpoints.names import NameMap, Names, bert_style
from nlpx.models.config import ModelConfig

MODEL_TYPE = "roformer"
PREFIX = "roformer."
NAMES = bert_style("roformer") | {
    "embeddings.project": Names(
        ("roformer.embeddings_project",),
        ("roformer/embeddings_project", "bert/encoder/embedding_hidden_mapping_in"),
    ),
    "lm_head.dense": Names(("cls.predictions.transform.dense",), ("cls/predictions/transform/dense",)),
    "lm_head.decoder": Names(("cls.predictions.decoder.weight",)),
}


def recognise(checkpoint: Checkpoint) -> str | None:
    """By its layers: no bias anywhere and no position table, whatever the configuration calls it."""
    if checkpoint.config.get("model_type") not in (None, "", "roformer", "roformer_v2"):
        return None
    names = checkpoint.names()
    in_layers = [name for name in names if "layer_0/" in name or ".layer.0." in name]
    biased = any(name.endswith(("bias", "beta", "gamma")) for name in in_layers)
    stored = any("position_embeddings" in name for name in names)
    return "its layers have no biases and no norm scales" if in_layers and not biased and not stored else None


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """As RoFormer's, with what V2 changed. No head is stored: the word table itself is the head."""
    values = bert_style_config(raw, tensors)
    return values | {
        "position": "rotary",
        "max_position_embeddings": raw.get("max_position_embeddings", 512),
        "norm": "rms",
        "norm_scale": False,
        # bert4keras, which trained the releases, takes Keras' 1e-7 where BERT has 1e-12.
        "norm_eps": raw.get("layer_norm_eps", raw.get("norm_eps", 1e-7)),
        "use_bias": False,
        "heads": ["lm"],
        "lm_transform": False,
        "lm_bias": False,
    }


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Always refuses: transformers has no RoFormerV2."""
    raise no_counterpart(f"family `{config.family}` (norm `{config.norm}` without scale, no biases)")
