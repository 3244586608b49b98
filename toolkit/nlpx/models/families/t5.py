"""T5 in both versions: T5.1.0 (relu, the word table writes too) and T5.1.1 (gated GELU, a matrix of its own)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nlpx.errors import InputError
from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import (
    by_model_type,
    has_no_model_type,
    known_activation,
    refuse_unless,
)
from nlpx.models.checkpoints.names import NameMap, Names
from nlpx.models.config import ModelConfig

MODEL_TYPE = "t5"
PREFIX = ""

# Our size, and its key in transformers and in bert4keras.
_SIZES = {
    "hidden_size": ("d_model", "hidden_size"),
    "num_layers": ("num_layers", "num_hidden_layers"),
    "num_attention_heads": ("num_heads", "num_attention_heads"),
    "intermediate_size": ("d_ff", "intermediate_size"),
}


def _stack(ours: str, theirs: str, feed_forward: int) -> dict[str, Names]:
    """The names of one stack; `feed_forward` is the number of that part in their blocks."""
    torch, tensorflow = f"{theirs}.block.{{i}}.layer", f"{theirs}/block_{{i:0>3}}/layer_00"

    def attention(number: int, name: str) -> dict[str, Names]:
        return {
            part: Names(
                (f"{torch}.{number}.{name}.{letter}",), (f"{tensorflow}{number}/{name}/{letter}",), bare_transposed=True
            )
            for part, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o"))
        }

    def norm(number: int) -> Names:
        path = f"{tensorflow}{number}"
        return Names((f"{torch}.{number}.layer_norm",), (f"{path}/layer_norm/scale", f"{path}/rms_norm/scale"))

    def dense(*names: str) -> Names:
        part = f"{feed_forward}.DenseReluDense"
        path = f"{tensorflow}{feed_forward}/DenseReluDense"
        return Names(tuple(f"{torch}.{part}.{name}" for name in names), tuple(f"{path}/{name}" for name in names))

    bias = "SelfAttention.relative_attention_bias"
    table = {f"layers.{{i}}.attention.{part}": names for part, names in attention(0, "SelfAttention").items()}
    if feed_forward == 2:
        crossed = attention(1, "EncDecAttention")
        table |= {f"layers.{{i}}.cross_attention.{part}": names for part, names in crossed.items()}
        table["layers.{i}.cross_attention_norm"] = norm(1)
    table |= {
        "layers.{i}.attention_norm": norm(0),
        "layers.{i}.feed_forward_norm": norm(feed_forward),
        "layers.{i}.feed_forward.input": dense("wi_0", "wi"),
        "layers.{i}.feed_forward.gate": dense("wi_1"),
        "layers.{i}.feed_forward.output": dense("wo"),
        "norm": Names(
            (f"{theirs}.final_layer_norm",), (f"{theirs}/final_layer_norm/scale", f"{theirs}/rms_norm/scale")
        ),
        "bucketed": Names(
            (f"{theirs}.block.0.layer.0.{bias}",),
            (f"{theirs}/block_000/layer_000/{bias.replace('.', '/')}",),
            bare_transposed=True,
        ),
    }
    return {ours + name: names for name, names in table.items()}


NAMES = {
    "embeddings.word_embeddings": Names(("shared", "encoder.embed_tokens"), ("shared/embedding",)),
    **_stack("", "encoder", feed_forward=1),
    **_stack("decoder.", "decoder", feed_forward=2),
    "lm_head.decoder": Names(("lm_head.weight",), ("decoder/logits/kernel",), bare_transposed=True),
}


def recognise(checkpoint: Checkpoint) -> str | None:
    """By `model_type`, else by the names of T5's first attention; without a type mT5 is T5.1.1."""
    if has_no_model_type(checkpoint):
        first = ("encoder.block.0.layer.0.SelfAttention.q.weight", "encoder/block_000/layer_000/SelfAttention/q")
        return "T5's names" if any(name in checkpoint.names() for name in first) else None
    return by_model_type(checkpoint, MODEL_TYPE)


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """T5.1.0 divides the states by the root of their width before the vocabulary product, T5.1.1 does not."""
    return read_sizes(raw, tensors) | {"lm_scale": "sqrt" if _divides(raw, tensors) else "none"}


def read_sizes(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """What T5 and mT5 have in common. A checkpoint of the encoder alone has no decoder layers and no head."""
    sizes = {ours: raw.get(theirs, raw.get(keras)) for ours, (theirs, keras) in _SIZES.items()}
    missing = [_SIZES[key][0] for key, value in sizes.items() if type(value) is not int or value < 1]
    if missing:
        raise InputError(f"{tensors.checkpoint.path}: the configuration lacks {', '.join(missing)}")
    has_decoder = tensors.find("decoder.layers.0.attention.query.weight") is not None
    depth = raw.get("num_decoder_layers") or sizes["num_layers"]
    query = tensors.shape("layers.0.attention.query.weight")
    table = tensors.shape("embeddings.word_embeddings.weight")
    buckets = tensors.shape("bucketed.weight")
    gated = tensors.find("layers.0.feed_forward.gate.weight") is not None
    dropout = raw.get("dropout_rate", raw.get("hidden_dropout_prob", 0.1))
    return sizes | {
        "vocab_size": raw.get("vocab_size") or (table[0] if table else 0),
        "num_decoder_layers": depth if has_decoder else 0,
        "head_size": query[0] // sizes["num_attention_heads"] if query else raw.get("d_kv", 0),
        "position": "bucketed",
        "num_position_buckets": buckets[0] if buckets else raw.get("relative_attention_num_buckets", 32),
        "max_bucketed_distance": raw.get("relative_attention_max_distance", 128),
        "max_position_embeddings": raw.get("n_positions", 512),
        "type_vocab_size": 0,
        "hidden_act": _activation(raw, tensors, gated=gated),
        "feed_forward": "gated" if gated else "dense",
        "norm": "rms",
        "norm_place": "pre",
        "norm_eps": raw.get("layer_norm_epsilon", 1e-6),
        "embedding_norm": False,
        "use_bias": False,
        "attention_scale": "none",
        "hidden_dropout": dropout,
        "attention_dropout": raw.get("attention_probs_dropout_prob", dropout),
        "feed_forward_dropout": dropout,
        "heads": ["lm"] if has_decoder else [],
        "lm_transform": False,
        "lm_bias": False,
    }


def write_config(config: ModelConfig) -> dict[str, Any]:
    """As transformers has it: `tie_word_embeddings` false says there that the states are not divided."""
    divides = config.lm_scale == "sqrt"
    return write_sizes(config, "T5") | {"tie_word_embeddings": divides, "scale_decoder_outputs": divides}


def written_names(config: ModelConfig) -> dict[str, Names]:
    """The first map of a feed-forward is `wi_0` beside a gate, else `wi`."""
    if config.feed_forward == "gated":
        return NAMES
    plain = {key: replace(names, torch=names.torch[1:]) for key, names in NAMES.items() if key.endswith(".input")}
    return NAMES | plain


def write_sizes(config: ModelConfig, prefix: str) -> dict[str, Any]:
    """Refuses whatever is not T5's own arrangement; `prefix` begins the names of transformers' classes."""
    refuse_unless(
        config,
        position=("bucketed",),
        norm=("rms",),
        norm_place=("pre",),
        norm_scale=(True,),
        use_bias=(False,),
        embedding_norm=(False,),
        attention=("softmax",),
        attention_scale=("none",),
        residual_scores=("none",),
        condition_size=(0,),
        type_vocab_size=(0,),
        segments_as_tokens=(False,),
        embedding_size=(config.hidden_size,),
        project_embeddings=(False,),
        key_size=(config.head_size,),
        share_layers=("none",),
        mask=("bidirectional",),
        pooler=("none",),
        lm_transform=(False,),
        lm_bias=(False,),
        heads=(("lm",) if config.is_encoder_decoder else (),),
    )
    act = "gelu" if config.hidden_act == "gelu_new" and config.feed_forward == "gated" else config.hidden_act
    return {
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "d_kv": config.head_size,
        "d_ff": config.intermediate_size,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.num_decoder_layers or config.num_layers,
        "num_heads": config.num_attention_heads,
        "relative_attention_num_buckets": config.num_position_buckets,
        "relative_attention_max_distance": config.max_bucketed_distance,
        "dropout_rate": config.hidden_dropout,
        "layer_norm_epsilon": config.norm_eps,
        "feed_forward_proj": f"gated-{act}" if config.feed_forward == "gated" else act,
        "n_positions": config.max_position_embeddings,
        "is_encoder_decoder": True,
        "architectures": [f"{prefix}{'ForConditionalGeneration' if config.is_encoder_decoder else 'EncoderModel'}"],
    }


def _activation(raw: Mapping[str, Any], tensors: NameMap, *, gated: bool) -> str:
    """`gated-gelu` is the tanh approximation; bert4keras lists both halves of a gate."""
    given = raw.get("feed_forward_proj", raw.get("hidden_act", "gelu" if gated else "relu"))
    name = given[0] if isinstance(given, list) and given else given
    name = name.removeprefix("gated-") if isinstance(name, str) else name
    return "gelu_new" if gated and name == "gelu" else known_activation(name, tensors)


def _divides(raw: Mapping[str, Any], tensors: NameMap) -> bool:
    """As transformers decides it; Google's bundles have no such key, but their two versions store different heads."""
    if "scale_decoder_outputs" in raw:
        return bool(raw["scale_decoder_outputs"])
    if tensors.checkpoint.layout == "tensorflow":
        return tensors.find("lm_head.decoder") is None
    return raw.get("tie_word_embeddings") is not False
