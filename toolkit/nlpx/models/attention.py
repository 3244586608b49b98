"""Multi-head self-attention in two forms with equal results: explicit products and torch's fused kernel.

Which is faster was measured (docs/performance.md): on a CPU torch's fused kernel is behind wherever it meets dropout or
bfloat16, most of all on long texts, and ahead for plain float32 inference; on other devices it is the faster one.
Relative positions (NEZHA) and residual scores (RealFormer) need the scores: always explicit. Performer attention has
none and is a third form, with results of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.performer import RandomFeatures, performer_attention
from nlpx.models.positions import rotate
from nlpx.models.scales import score_scale

EXPLICIT_UP_TO = 1024  # tokens; beyond it the explicit form's score matrices take more memory than they save time


@dataclass(frozen=True, slots=True)
class AttentionContext:
    """What all layers of one call share: mask as additive bias (B or 1, 1, T or 1, T) and position tables."""

    bias: Tensor | None = None
    rotary: tuple[Tensor, Tensor] | None = None
    relative: Tensor | None = None  # (T, T, D)
    row_factor: Tensor | None = None  # (B or 1, 1, T or 1, 1), float32: what a row's scores are multiplied by
    causal: bool = False  # this and the next take the place of the bias where no scores exist (performer)
    keys: Tensor | None = None  # (B, T), true for real keys


@dataclass(frozen=True, slots=True)
class ResidualScores:
    """Raw scores summed over the layers so far (RealFormer, arXiv 2012.11747), and how many layers that were.

    The mask is no part of the sum: added in every layer it would grow with the depth.
    """

    total: Tensor  # (B, H, T, T), float32: a sum over many layers outgrows three digits
    num_layers: int

    def add(self, scores: Tensor) -> ResidualScores:
        """The sum with one more layer's scores."""
        return ResidualScores(self.total + scores, self.num_layers + 1)


class SelfAttention(nn.Module):
    """hidden states (B, T, D) -> (B, T, D). One linear map makes queries, keys and values."""

    def __init__(self, config: ModelConfig, pool: NoisePool, layer: int = 0) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.key_size, self.head_size = config.key_size, config.head_size
        self.scale = score_scale(config)
        self.residual = config.residual_scores
        self.sizes = [self.num_heads * size for size in (self.key_size, self.key_size, self.head_size)]
        self.query_key_value = nn.Linear(config.hidden_size, sum(self.sizes), bias=config.use_bias)
        self.output = nn.Linear(self.sizes[2], config.hidden_size, bias=config.use_bias)
        self.dropout = Dropout(config.attention_dropout, pool)
        self.features = RandomFeatures(config, layer) if config.attention == "performer" else None

    def forward(
        self, hidden_states: Tensor, context: AttentionContext, previous: ResidualScores | None = None
    ) -> tuple[Tensor, ResidualScores | None]:
        """Mixed states, and the scores up to this layer where `residual_scores` asks for them."""
        parts = self.query_key_value(hidden_states).split(self.sizes, dim=-1)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        if context.rotary is not None:
            query, key = rotate(query, *context.rotary), rotate(key, *context.rotary)
        if context.row_factor is not None:
            query = (query * context.row_factor).to(query.dtype)
        mixed, scores = self._attend(query, key, value, context, previous)
        return self.output(mixed.transpose(1, 2).flatten(2)), scores

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, context: AttentionContext, previous: ResidualScores | None
    ) -> tuple[Tensor, ResidualScores | None]:
        if self.features is not None:
            return self._performer(query, key, value, context, self.features.projection), None
        rate = self.dropout.rate if self.training else 0.0
        needs_scores = context.relative is not None or self.residual != "none"
        if needs_scores or explicit_is_faster(query, dropout=rate > 0):
            return self._explicit(query, key, value, context, previous)
        bias = None if context.bias is None else context.bias.to(query.dtype)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=rate, scale=self.scale
        )
        return mixed, None

    def _performer(
        self, query: Tensor, key: Tensor, value: Tensor, context: AttentionContext, projection: Tensor
    ) -> Tensor:
        half = self.scale**0.5
        return performer_attention(
            query * half, key * half, value, projection, causal=context.causal, keys=context.keys
        )

    def _explicit(
        self, query: Tensor, key: Tensor, value: Tensor, context: AttentionContext, previous: ResidualScores | None
    ) -> tuple[Tensor, ResidualScores | None]:
        query = query * self.scale
        scores = query @ key.transpose(2, 3)
        if context.relative is not None:
            relative = context.relative.to(scores.dtype)
            scores = scores + torch.einsum("bhid,ijd->bhij", query, relative)
        residual = None
        if self.residual != "none":
            residual = ResidualScores(scores.float(), 1) if previous is None else previous.add(scores)
            scores = residual.total / residual.num_layers if self.residual == "mean" else residual.total
        if context.bias is not None:
            scores = scores + context.bias.to(scores.dtype)
        weights = self.dropout(scores.softmax(dim=-1).to(value.dtype))
        mixed = weights @ value
        if context.relative is not None:
            mixed = mixed + torch.einsum("bhij,ijd->bhid", weights, relative)
        return mixed, residual


def explicit_is_faster(query: Tensor, *, dropout: bool) -> bool:
    """Which form to take for queries (B, H, T, D)."""
    on_cpu = query.device.type == "cpu" and query.shape[2] <= EXPLICIT_UP_TO
    return on_cpu and (dropout or query.dtype == torch.bfloat16)
