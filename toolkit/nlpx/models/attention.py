"""Multi-head self-attention in two forms with equal results: explicit products and torch's fused kernel.

Which is faster was measured (docs/performance.md): on a CPU torch's fused kernel is behind wherever it meets dropout or
bfloat16, most of all on long texts, and ahead for plain float32 inference; on other devices it is the faster one.
Relative positions (NEZHA) need the scores: always explicit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.positions import rotate

EXPLICIT_UP_TO = 1024  # tokens; beyond it the explicit form's score matrices take more memory than they save time


@dataclass(frozen=True, slots=True)
class AttentionContext:
    """What all layers of one call share: mask as additive bias (B or 1, 1, T or 1, T) and position tables."""

    bias: Tensor | None = None
    rotary: tuple[Tensor, Tensor] | None = None
    relative: Tensor | None = None  # (T, T, D)


class SelfAttention(nn.Module):
    """hidden states (B, T, D) -> (B, T, D). One linear map makes queries, keys and values."""

    def __init__(self, config: ModelConfig, pool: NoisePool) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.key_size, self.head_size = config.key_size, config.head_size
        self.scale = config.key_size**-0.5 if config.attention_scale == "sqrt" else 1.0
        self.sizes = [self.num_heads * size for size in (self.key_size, self.key_size, self.head_size)]
        self.query_key_value = nn.Linear(config.hidden_size, sum(self.sizes), bias=config.use_bias)
        self.output = nn.Linear(self.sizes[2], config.hidden_size, bias=config.use_bias)
        self.dropout = Dropout(config.attention_dropout, pool)

    def forward(self, hidden_states: Tensor, context: AttentionContext) -> Tensor:
        parts = self.query_key_value(hidden_states).split(self.sizes, dim=-1)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        if context.rotary is not None:
            query, key = rotate(query, *context.rotary), rotate(key, *context.rotary)
        mixed = self._attend(query, key, value, context)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, context: AttentionContext) -> Tensor:
        rate = self.dropout.rate if self.training else 0.0
        if context.relative is not None or explicit_is_faster(query, dropout=rate > 0):
            return self._explicit(query, key, value, context)
        bias = None if context.bias is None else context.bias.to(query.dtype)
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=rate, scale=self.scale
        )

    def _explicit(self, query: Tensor, key: Tensor, value: Tensor, context: AttentionContext) -> Tensor:
        query = query * self.scale
        scores = query @ key.transpose(2, 3)
        if context.relative is not None:
            relative = context.relative.to(scores.dtype)
            scores = scores + torch.einsum("bhid,ijd->bhij", query, relative)
        if context.bias is not None:
            scores = scores + context.bias.to(scores.dtype)
        weights = self.dropout(scores.softmax(dim=-1).to(value.dtype))
        mixed = weights @ value
        if context.relative is not None:
            mixed = mixed + torch.einsum("bhij,ijd->bhid", weights, relative)
        return mixed


def explicit_is_faster(query: Tensor, *, dropout: bool) -> bool:
    """Which form to take for queries (B, H, T, D)."""
    on_cpu = query.device.type == "cpu" and query.shape[2] <= EXPLICIT_UP_TO
    return on_cpu and (dropout or query.dtype == torch.bfloat16)
