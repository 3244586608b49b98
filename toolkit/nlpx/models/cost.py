"""What a model costs by its configuration: parameters by part, bytes, and FLOPs a token. Nothing is measured here.

FLOPs count products of matrices, 2 per multiply-add, for one text of T tokens without padding, divided by T; norms,
activations, softmax and look-ups are left out. With hidden size D, embedding size E, intermediate size I, vocabulary
V, n heads of key size k and value size h, one block costs a token

    2 D (2 n k + n h) + 2 n h D     queries, keys, values, output
    2 T n (k + h)                   scores and their mix; twice that where positions are relative
    2 D I (2, or 3 where gated)     feed-forward

and the whole model L of them, shared or not, 2 E D for a projected embedding, and its head: 2 D E + 2 E V for the
vocabulary at every position. A model with a decoder is counted with a target as long as its source: decoder blocks add
theirs, and once more the attention with its maps, that to the source. The backward pass computes two products for each
of these: training costs 3 times as much.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nlpx.models.config import ModelConfig

BACKWARD = 2.0  # of the forward pass
BYTES_FLOAT32, BYTES_BFLOAT16 = 4, 2
BYTES_ADAMW = 4 * BYTES_FLOAT32  # weight, gradient, first and second moment

PARTS = ("embeddings", "blocks", "heads")


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numbers of one model by part; `computed_blocks` counts a shared block as often as a text passes it."""

    embeddings: int
    blocks: int
    heads: int
    computed_blocks: int

    @property
    def total(self) -> int:
        """Each number once, as stored."""
        return self.embeddings + self.blocks + self.heads

    @property
    def computed(self) -> int:
        """As many as a model without sharing would have."""
        return self.total - self.blocks + self.computed_blocks


@dataclass(frozen=True, slots=True)
class Flops:
    """Floating-point operations of one forward pass a token, by part."""

    embeddings: float
    blocks: float
    heads: float

    @property
    def forward(self) -> float:
        """All of them."""
        return self.embeddings + self.blocks + self.heads

    @property
    def training(self) -> float:
        """Forward and backward pass; recomputed activations would come on top."""
        return (1 + BACKWARD) * self.forward


def count_parameters(named: Iterable[tuple[str, Any]], config: ModelConfig) -> Parameters:
    """Parameters by part of a model's `named_parameters()`, which may lie on the meta device."""
    sizes = dict.fromkeys(PARTS, 0)
    layers = 0
    for name, parameter in named:
        sizes[_part_of(name)] += parameter.numel()
        layers += parameter.numel() if name.startswith("layers.") else 0
    passes = config.num_layers if config.share_layers == "all" else 1
    return Parameters(**sizes, computed_blocks=sizes["blocks"] + (passes - 1) * layers)


def flops_per_token(config: ModelConfig, length: int) -> Flops:
    """FLOPs of one forward pass over a text of `length` tokens, divided by the length."""
    hidden, narrow = config.hidden_size, config.embedding_size
    embeddings = 2.0 * narrow * hidden if narrow != hidden or config.project_embeddings else 0.0
    embeddings += _condition(config, narrow, 1 if config.embedding_norm else 0) / length
    attention = _projections(config) + _attention(config, length)
    feed_forward = 2.0 * hidden * config.intermediate_size * (3 if config.feed_forward == "gated" else 2)
    blocks = config.num_layers * (attention + feed_forward)
    blocks += config.num_decoder_layers * (2 * attention + feed_forward)
    norms = 2 * config.num_layers + (config.norm_place == "pre")
    blocks += _condition(config, hidden, norms) / length
    return Flops(embeddings, blocks, _heads(config, length))


def bert_like(config: ModelConfig, max_length: int) -> ModelConfig:
    """A BERT of the same shape and heads: no layer shared, the word table as wide as the rest, plain attention."""
    kept = (
        "vocab_size", "hidden_size", "num_layers", "num_attention_heads", "intermediate_size", "heads", "pooler",
        "num_labels", "pair_hidden_size", "classification_pooling", "classification_transform", "hidden_dropout",
        "attention_dropout",
    )  # fmt: skip
    values = {name: getattr(config, name) for name in kept}
    is_even = config.hidden_size % config.num_attention_heads == 0
    sizes = {} if is_even else {"head_size": config.head_size}
    positions = max(config.max_position_embeddings, max_length)
    return ModelConfig(family="bert", max_position_embeddings=positions, **values, **sizes)


def config_warnings(config: ModelConfig) -> list[str]:
    """One sentence for each that a reader of this card could fall for (Su Jianlin, kexue.fm/archives/7846)."""
    sentences = []
    if config.share_layers == "all":
        sentences.append(
            f"sharing saves disk and memory, not time: one block is stored, but a text still passes {config.num_layers}"
        )
    if config.family == "electra" and "lm" in config.heads:
        sentences.append(
            "an ELECTRA generator is small on purpose, a quarter to a half of its discriminator: "
            "what it fills in or generates is no match for a BERT of the discriminator's size"
        )
    elif config.family == "electra" or "discriminator" in config.heads:
        sentences.append(
            "a discriminator tells replaced tokens from original ones: it embeds and fine-tunes, "
            "but cannot fill masks or generate"
        )
    return sentences


def _part_of(name: str) -> str:
    name = name.removeprefix("encoder.")
    if name.startswith(("embeddings.", "condition_embeddings.")):
        return "embeddings"
    return "blocks" if name.startswith(("layers.", "norm.", "bucketed.", "decoder.")) else "heads"


def _projections(config: ModelConfig) -> float:
    heads, hidden = config.num_attention_heads, config.hidden_size
    return 2.0 * hidden * heads * (2 * config.key_size + config.head_size) + 2.0 * heads * config.head_size * hidden


def _attention(config: ModelConfig, length: int) -> float:
    heads, widths = config.num_attention_heads, config.key_size + config.head_size
    if config.attention == "performer":
        return _performer(config, length)
    return 2.0 * length * heads * widths * (2 if config.position == "relative" else 1)


def _performer(config: ModelConfig, length: int) -> float:
    """Features of queries and keys, sums over keys, and their mix; inside a causal block weights are computed."""
    from nlpx.models.performer import CHUNK, default_features

    features = config.performer_features or default_features(config.key_size)
    width = config.head_size + 1  # the denominator is one more column
    linear = 4.0 * features * width
    if config.mask == "causal":
        padded = -(-length // CHUNK) * CHUNK
        linear = (linear + 2.0 * CHUNK * (features + width)) * padded / length
    return config.num_attention_heads * (4.0 * config.key_size * features + linear)


def _condition(config: ModelConfig, size: int, num_norms: int) -> float:
    """What conditions cost a text: each norm maps the vector to a scale and an offset."""
    if not config.condition_size:
        return 0.0
    width = config.condition_hidden_size or config.condition_size
    first = 2.0 * config.condition_size * width if config.condition_hidden_size else 0.0
    return num_norms * (first + 4.0 * width * size)


def _heads(config: ModelConfig, length: int) -> float:
    """The head that `forward` takes, at every position where it has one; pooled vectors are one a text."""
    hidden, narrow = config.hidden_size, config.embedding_size
    total = 2.0 * hidden * hidden / length if config.pooler != "none" else 0.0
    total += 4.0 * hidden / length if "sentence" in config.heads else 0.0
    if "classification" in config.heads:
        total += 2.0 * hidden * hidden / length if config.classification_transform != "none" else 0.0
        return total + 2.0 * hidden * config.num_labels / length
    if "pair" in config.heads:  # of two texts, so half of it a text
        return total + config.pair_hidden_size * (2.0 * hidden + 1 + config.num_labels) / length
    if "discriminator" in config.heads:
        return total + 2.0 * hidden * hidden + 2.0 * hidden
    if "lm" not in config.heads:
        return total
    if config.lm_transform:
        total += _condition(config, narrow, 1) / length
    maps = config.lm_transform or narrow != hidden
    return total + (2.0 * hidden * narrow if maps else 0.0) + 2.0 * narrow * config.vocab_size
