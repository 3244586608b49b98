"""A model as CTranslate2 reads it: causal models with learned or rotary positions, and encoder-decoders (T5).

Its `model.bin`, `config.json` and vocabulary stand beside our tokenizer. What its decoder has no part for, such as a
UniLM mask or a transform before the vocabulary product, is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nlpx.errors import InputError, MachineError, install_hint
from nlpx.io import write_json
from nlpx.models.config import ModelConfig
from nlpx.models.encoder_decoder import EncoderDecoder
from nlpx.models.transformer import Transformer

Weights = Literal["float32", "float16", "bfloat16", "int8"]
WEIGHTS: tuple[Weights, ...] = ("float32", "float16", "bfloat16", "int8")

FACTS = "nlpx_ctranslate2.json"  # what CTranslate2's own files do not say and `engine.py` needs
ACTIVATIONS = {"gelu": "GELU", "gelu_new": "GELUTanh", "relu": "RELU", "silu": "SWISH"}
# What its stacks are made of, by the keys of our configuration.
_PARTS: dict[str, tuple[Any, ...]] = {
    "norm_place": ("pre", "post"),
    "norm_scale": (True,),
    "attention": ("softmax",),
    "residual_scores": ("none",),
    "share_layers": ("none",),
    "condition_size": (0,),
    "project_embeddings": (False,),
    "segments_as_tokens": (False,),
    "lm_transform": (False,),
    "hidden_act": tuple(ACTIVATIONS),
}
_CAUSAL = {"mask": ("causal",), "position": ("learned", "rotary"), "attention_scale": ("sqrt",)}


def export(model: Transformer | EncoderDecoder, tokens: Sequence[str], directory: Path, *, weights: Weights) -> None:
    """Write the model with its vocabulary; `tokens` are those of the tokenizer, by id.

    Raises `InputError` naming the part that CTranslate2 lacks, `MachineError` without the extra.
    """
    _refuse_other_parts(model.config)
    config, padded = model.config, _vocabulary(tokens, model.config.vocab_size)
    special = config.special_token_ids
    if isinstance(model, EncoderDecoder):
        spec = _encoder_decoder(model)
        spec.register_source_vocabulary(padded)
        spec.register_target_vocabulary(padded)
        spec.config.decoder_start_token = padded[special.get("decoder_start", special.get("pad", 0))]
    else:
        spec = _causal(model)
        spec.register_vocabulary(padded)
    spec.config.layer_norm_epsilon = config.norm_eps
    for name, fallback in (("bos", 0), ("eos", 0), ("unk", 0)):
        setattr(spec.config, f"{name}_token", padded[special.get(name, fallback)])
    spec.validate()
    spec.optimize(quantization=weights)
    spec.save(str(directory))
    longest = config.max_position_embeddings if config.position == "learned" else None
    facts = {
        "encoder_decoder": config.is_encoder_decoder,
        "max_length": longest,
        "special_token_ids": special,
        "num_rows": config.vocab_size,
    }
    write_json(directory / FACTS, facts)


def facts_of(directory: Path) -> dict[str, Any] | None:
    """What `export` wrote beside the model; None for any other directory."""
    file = directory / FACTS
    found: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    return found


def _refuse_other_parts(config: ModelConfig) -> None:
    wanted = dict(_PARTS)
    if not config.is_encoder_decoder:
        wanted |= _CAUSAL
    for key, allowed in wanted.items():
        value = getattr(config, key)
        if value not in allowed:
            raise InputError(
                f"no part of CTranslate2 is {key} `{value}`, only {' and '.join(f'`{one}`' for one in allowed)}",
                hint="--to onnx or --to nlpx",
            )
    if "lm" not in config.heads:
        raise InputError("the model has no head `lm` to generate with", hint="--to onnx embeds with it")
    if config.embedding_size != config.hidden_size or config.key_size != config.head_size:
        raise InputError("no part of CTranslate2 is a narrow word table, or keys of another size than values")


def _vocabulary(tokens: Sequence[str], num_rows: int) -> list[str]:
    """A name for every row of the word table, no two alike."""
    names = [*tokens, *(f"<row_{row}>" for row in range(len(tokens), num_rows))]
    seen: set[str] = set()
    for row, name in enumerate(names):
        if not name or name in seen:
            names[row] = f"<row_{row}>"
        seen.add(names[row])
    return names


def _specs() -> Any:
    try:
        from ctranslate2.specs import transformer_spec
    except ImportError:
        hint = install_hint("ctranslate2")
        raise MachineError("a model for CTranslate2 needs the extra `ctranslate2`", hint=hint) from None
    return transformer_spec


def _shape(config: ModelConfig) -> dict[str, Any]:
    from ctranslate2.specs import common_spec

    return {
        "pre_norm": config.norm_place == "pre",
        "activation": getattr(common_spec.Activation, ACTIVATIONS[config.hidden_act]),
        "ffn_glu": config.feed_forward == "gated",
        "rms_norm": config.norm == "rms",
        "layernorm_embedding": config.embedding_norm,
    }


def _causal(model: Transformer) -> Any:
    config = model.config
    rotary = {"rotary_dim": config.key_size, "rotary_interleave": True} if config.position == "rotary" else {}
    specs = _specs()
    spec = specs.TransformerDecoderModelSpec.from_config(
        config.num_layers, config.num_attention_heads, head_dim=config.head_size, **_shape(config), **rotary
    )
    stack, embeddings = spec.decoder, model.embeddings
    table = embeddings.word_embeddings.weight
    if embeddings.token_type_embeddings is not None:
        table = table + embeddings.token_type_embeddings.weight[0]  # all of a text is segment 0
    stack.scale_embeddings = False
    stack.embeddings.weight = _array(table)
    if embeddings.position_embeddings is not None:
        stack.position_encodings.encodings = _array(embeddings.position_embeddings.weight)
    if embeddings.norm is not None:
        _set_norm(stack.layernorm_embedding, embeddings.norm)
    if model.norm is not None:
        _set_norm(stack.layer_norm, model.norm)
    for into, block in zip(stack.layer, model.layers, strict=True):
        _set_block(into, block)
    _set_projection(stack.projection, model.lm_head, embeddings.word_embeddings.weight)
    return spec


def _encoder_decoder(model: EncoderDecoder) -> Any:
    config = model.config
    shape = _shape(config) | {"relative_attention_bias": True}
    specs = _specs()
    spec = specs.TransformerSpec.from_config(
        (config.num_layers, config.num_decoder_layers), config.num_attention_heads, **shape
    )
    table = _array(model.get_input_embeddings().weight)
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = table
    for stack, ours in ((spec.encoder, model.encoder), (spec.decoder, model.decoder)):
        stack.scale_embeddings = False
        _set_norm(stack.layer_norm, ours.norm)
        for into, block in zip(stack.layer, ours.layers, strict=True):
            _set_block(into, block)
            attention = into.self_attention
            attention.queries_scale = 1.0
            attention.relative_attention_bias = _array(ours.bucketed.weight)  # type: ignore[union-attr]
            attention.relative_attention_max_distance = _int32(config.max_bucketed_distance)
    for into, block in zip(spec.decoder.layer, model.decoder.layers, strict=True):
        cross: Any = block.cross_attention
        into.attention.queries_scale = 1.0
        _set_linear(into.attention.linear[0], cross.query)
        into.attention.linear[1].weight = _array(torch.cat([cross.key.weight, cross.value.weight]))
        _set_linear(into.attention.linear[2], cross.output)
        _set_norm(into.attention.layer_norm, block.cross_attention_norm)
    _set_projection(spec.decoder.projection, model.lm_head, model.get_input_embeddings().weight)
    if config.lm_scale == "sqrt":
        spec.decoder.scale_outputs = config.hidden_size**-0.5
    return spec


def _set_block(into: Any, block: Any) -> None:
    """Self-attention and feed-forward with their norms, which both kinds of stacks have."""
    _set_linear(into.self_attention.linear[0], block.attention.query_key_value)
    _set_linear(into.self_attention.linear[1], block.attention.output)
    _set_norm(into.self_attention.layer_norm, block.attention_norm)
    _set_linear(into.ffn.linear_0, block.feed_forward.input)
    if block.feed_forward.gate is not None:
        _set_linear(into.ffn.linear_0_noact, block.feed_forward.gate)
    _set_linear(into.ffn.linear_1, block.feed_forward.output)
    _set_norm(into.ffn.layer_norm, block.feed_forward_norm)


def _set_projection(into: Any, head: Any, table: Tensor) -> None:
    into.weight = _array(table if head.decoder is None else head.decoder)
    if head.bias is not None:
        into.bias = _array(head.bias)


def _set_linear(into: Any, linear: nn.Linear) -> None:
    into.weight = _array(linear.weight)
    if linear.bias is not None:
        into.bias = _array(linear.bias)


def _set_norm(into: Any, norm: Any) -> None:
    into.gamma = _array(norm.weight)
    if norm.bias is not None:
        into.beta = _array(norm.bias)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().contiguous().numpy()


def _int32(value: int) -> Any:
    import numpy as np

    return np.dtype("int32").type(value)
