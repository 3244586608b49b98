"""The first GPT, as CDial-GPT publishes it: causal, norms after each part and none at the end, GPT-2's file layout.

CDial-GPT also adds the vectors of the speakers' tokens, one at each position: `segments_as_tokens=true`, and those ids
as segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

MODEL_TYPE = "openai-gpt"
PREFIX = "transformer."
_BLOCK = "transformer.h.{i}"
_TF = "gpt/transformer/layer_{i}"  # as bert4keras names them, query, key and value apart
NAMES = {
    "embeddings.word_embeddings": Names(("transformer.tokens_embed",), ("gpt/embeddings/word_embeddings",)),
    "embeddings.token_type_embeddings": Names((), ("gpt/embeddings/token_type_embeddings",)),
    "embeddings.position_embeddings": Names(("transformer.positions_embed",), ("gpt/embeddings/position_embeddings",)),
    "layers.{i}.attention.query_key_value": Names((f"{_BLOCK}.attn.c_attn",), transposed=True),
    **{
        f"layers.{{i}}.attention.{part}": Names((), (f"{_TF}/attention/self/{part}",))
        for part in ("query", "key", "value")
    },
    "layers.{i}.attention.output": Names(
        (f"{_BLOCK}.attn.c_proj",), (f"{_TF}/attention/output/dense",), transposed=True
    ),
    "layers.{i}.attention_norm": Names((f"{_BLOCK}.ln_1",), (f"{_TF}/attention/output/LayerNorm",)),
    "layers.{i}.feed_forward.input": Names((f"{_BLOCK}.mlp.c_fc",), (f"{_TF}/intermediate/dense",), transposed=True),
    "layers.{i}.feed_forward.output": Names((f"{_BLOCK}.mlp.c_proj",), (f"{_TF}/output/dense",), transposed=True),
    "layers.{i}.feed_forward_norm": Names((f"{_BLOCK}.ln_2",), (f"{_TF}/output/LayerNorm",)),
    "lm_head.decoder": Names(("lm_head.weight",)),
}


def recognise(checkpoint: Checkpoint) -> str | None:
    """By `model_type`, else by the names of its tables, or by variables that start with `gpt` and have no last norm."""
    if not has_no_model_type(checkpoint):
        return by_model_type(checkpoint, MODEL_TYPE)
    names = checkpoint.names()
    if any(name.endswith("positions_embed.weight") for name in names):
        return "its tables are `tokens_embed` and `positions_embed`"
    is_first = "gpt/embeddings/word_embeddings" in names and "gpt/output/LayerNorm/gamma" not in names
    return "its variables start with `gpt` and have no norm at the end" if is_first else None


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """`gelu` of its configuration is the tanh approximation there, and the exact form in releases for TensorFlow."""
    sizes = gpt_sizes(raw, tensors)
    inner = tensors.shape("layers.0.feed_forward.input.weight")
    segments = tensors.shape("embeddings.token_type_embeddings.weight")
    is_torch = tensors.checkpoint.layout == "torch"
    act = raw.get("afn", raw.get("hidden_act", "gelu"))
    return sizes | {
        "intermediate_size": inner[0] if inner else 4 * sizes["hidden_size"],
        "position": "learned",
        "max_position_embeddings": raw.get("n_positions", raw.get("max_position_embeddings", 512)),
        "type_vocab_size": segments[0] if segments else 0,
        "hidden_act": "gelu_new" if is_torch and act == "gelu" else known_activation(act, tensors),
        "hidden_dropout": raw.get("resid_pdrop", raw.get("hidden_dropout_prob", 0.1)),
        "attention_dropout": raw.get("attn_pdrop", raw.get("attention_probs_dropout_prob", 0.1)),
        "initializer_range": raw.get("initializer_range", 0.02),
        "norm_eps": raw.get("layer_norm_epsilon", 1e-5 if is_torch else 1e-12),
        "embedding_norm": False,
        "mask": "causal",
        "heads": ["lm"],
        "lm_transform": False,
        "lm_bias": False,
    }


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Refuses whatever is not the first GPT's own arrangement."""
    refuse_unless(
        config,
        position=("learned",),
        norm=("layer",),
        norm_place=("post",),
        norm_scale=(True,),
        use_bias=(True,),
        embedding_norm=(False,),
        feed_forward=("dense",),
        intermediate_size=(4 * config.hidden_size,),
        hidden_act=("gelu_new", "relu", "silu"),
        attention=("softmax",),
        attention_scale=("sqrt",),
        residual_scores=("none",),
        condition_size=(0,),
        type_vocab_size=(0,),
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
        "n_positions": config.max_position_embeddings,
        "afn": "gelu" if config.hidden_act == "gelu_new" else config.hidden_act,
        "resid_pdrop": config.hidden_dropout,
        "embd_pdrop": config.hidden_dropout,
        "attn_pdrop": config.attention_dropout,
        "layer_norm_epsilon": config.norm_eps,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_word_embeddings,
        "architectures": ["OpenAIGPTLMHeadModel" if "lm" in config.heads else "OpenAIGPTModel"],
    }
