"""GPT-2: causal, norms before each part and one at the end, no segments. Stores its maps input by output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.errors import InputError
from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import (
    by_model_type,
    gpt_sizes,
    has_no_model_type,
    known_activation,
    no_counterpart,
    refuse_unless,
)
from nlpx.models.checkpoints.names import NameMap, Names
from nlpx.models.config import ModelConfig

MODEL_TYPE = "gpt2"
PREFIX = "transformer."
_BLOCK = "transformer.h.{i}"
_TF = "gpt/transformer/layer_{i}"  # as bert4keras names them, query, key and value apart
NAMES = {
    "embeddings.word_embeddings": Names(("transformer.wte",), ("gpt/embeddings/word_embeddings",)),
    "embeddings.position_embeddings": Names(("transformer.wpe",), ("gpt/embeddings/position_embeddings",)),
    "layers.{i}.attention_norm": Names((f"{_BLOCK}.ln_1",), (f"{_TF}/attention/input/LayerNorm",)),
    "layers.{i}.attention.query_key_value": Names((f"{_BLOCK}.attn.c_attn",), transposed=True),
    **{
        f"layers.{{i}}.attention.{part}": Names((), (f"{_TF}/attention/self/{part}",))
        for part in ("query", "key", "value")
    },
    "layers.{i}.attention.output": Names(
        (f"{_BLOCK}.attn.c_proj",), (f"{_TF}/attention/output/dense",), transposed=True
    ),
    "layers.{i}.feed_forward_norm": Names((f"{_BLOCK}.ln_2",), (f"{_TF}/input/LayerNorm",)),
    "layers.{i}.feed_forward.input": Names((f"{_BLOCK}.mlp.c_fc",), (f"{_TF}/intermediate/dense",), transposed=True),
    "layers.{i}.feed_forward.output": Names((f"{_BLOCK}.mlp.c_proj",), (f"{_TF}/output/dense",), transposed=True),
    "norm": Names(("transformer.ln_f",), ("gpt/output/LayerNorm",)),
    "lm_head.decoder": Names(("lm_head.weight",)),
}


def recognise(checkpoint: Checkpoint) -> str | None:
    """By `model_type`, else by its fused attention map."""
    if has_no_model_type(checkpoint):
        names = checkpoint.names()
        if "gpt/output/LayerNorm/gamma" in names:
            return "its variables start with `gpt` and end with a norm"
        fused = any(name.endswith("h.0.attn.c_attn.weight") for name in names)
        fused = fused and not any(name.endswith("tokens_embed.weight") for name in names)  # the first GPT
        return "one fused attention map `c_attn` per block" if fused else None
    return by_model_type(checkpoint, "gpt2")


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """GPT-2 names its sizes `n_*`. Scaling by layer index has no part here and is refused."""
    for key in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if raw.get(key):
            raise InputError(f"{tensors.checkpoint.path}: {key} true is not supported")
    sizes = gpt_sizes(raw, tensors)
    return sizes | {
        "intermediate_size": raw.get("n_inner") or raw.get("intermediate_size") or 4 * sizes["hidden_size"],
        "position": "learned",
        "max_position_embeddings": raw.get("n_positions", raw.get("max_position_embeddings", 1024)),
        "type_vocab_size": 0,
        "hidden_act": known_activation(raw.get("activation_function", raw.get("hidden_act", "gelu_new")), tensors),
        "hidden_dropout": raw.get("resid_pdrop", 0.1),
        "attention_dropout": raw.get("attn_pdrop", 0.1),
        "initializer_range": raw.get("initializer_range", 0.02),
        "norm_eps": raw.get("layer_norm_epsilon", 1e-5),
        "norm_place": "pre",
        "embedding_norm": False,
        "attention_scale": "sqrt" if raw.get("scale_attn_weights", True) else "none",
        "mask": "causal",
        "heads": ["lm"],
        "lm_transform": False,
        "lm_bias": False,
    }


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Refuses whatever is not GPT-2's own arrangement."""
    refuse_unless(
        config,
        position=("learned",),
        norm=("layer",),
        norm_place=("pre",),
        norm_scale=(True,),
        use_bias=(True,),
        embedding_norm=(False,),
        feed_forward=("dense",),
        attention=("softmax",),
        attention_scale=("sqrt", "none"),
        residual_scores=("none",),
        condition_size=(0,),
        type_vocab_size=(0,),
        segments_as_tokens=(False,),
        embedding_size=(config.hidden_size,),
        share_layers=("none",),
        mask=("causal",),
        pooler=("none",),
        lm_transform=(False,),
        lm_bias=(False,),
        lm_scale=("none",),
    )
    if config.key_size * config.num_attention_heads != config.hidden_size or config.key_size != config.head_size:
        raise no_counterpart(f"key_size {config.key_size} with {config.num_attention_heads} heads")
    return {
        "vocab_size": config.vocab_size,
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.num_attention_heads,
        "n_inner": config.intermediate_size,
        "n_positions": config.max_position_embeddings,
        "activation_function": config.hidden_act,
        "resid_pdrop": config.hidden_dropout,
        "embd_pdrop": config.hidden_dropout,
        "attn_pdrop": config.attention_dropout,
        "layer_norm_epsilon": config.norm_eps,
        "initializer_range": config.initializer_range,
        "scale_attn_weights": config.attention_scale == "sqrt",
        "tie_word_embeddings": config.tie_word_embeddings,
        "architectures": ["GPT2LMHeadModel" if "lm" in config.heads else "GPT2Model"],
    }
