"""Multi-head self-attention in two forms with equal results: explicit products and torch's fused kernel.

Which is faster was measured (docs/performance.md): on a CPU torch's fused kernel is behind wherever it meets dropout or
bfloat16, most of all on long texts, and ahead for plain float32 inference; on other devices it is the faster one.
Relative positions (NEZHA) and residual scores (RealFormer) need the scores: always explicit. Performer attention has
none and is a third form, with results of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlpx.errors import UsageError
from nlpx.models.cache import CachedLayer
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.performer import RandomFeatures, performer_attention
from nlpx.models.positions import rotate
from nlpx.models.scales import score_scale

EXPLICIT_UP_TO = 1024  # tokens; beyond it the explicit form's score matrices take more memory than they save time


@dataclass(frozen=True, slots=True)
class AttentionContext:
    """What all layers of one call share: mask as additive bias (B or 1, 1, T or 1, S) and position tables.

    The T queries look at S keys: as many, or with a cache also those that are stored.
    """

    bias: Tensor | None = None
    rotary: tuple[Tensor, Tensor] | None = None
    relative: Tensor | None = None  # (T, S, D)
    row_factor: Tensor | None = None  # (B or 1, 1, T or 1, 1), float32: what a row's scores are multiplied by
    causal: bool = False  # this and the next take the place of the bias where no scores exist (performer)
    keys: Tensor | None = None  # (B, T), true for real keys
    cached: CachedLayer | None = None  # the one part that each layer has for itself
    rows: Tensor | None = None  # (B, Q): only these of the T positions ask; None: all of them
    row_rotary: tuple[Tensor, Tensor] | None = None  # the position tables of `rows`

    def at(self, rows: Tensor) -> AttentionContext:
        """The same for queries at some positions (B, Q) only; keys and values stay those of all positions.

        Raises `UsageError` for causal performers, which carry sums from position to position.
        """
        if self.causal:
            raise UsageError("a causal performer cannot be asked at some positions only")
        rotary = None if self.rotary is None else (_rows_of(self.rotary[0], rows), _rows_of(self.rotary[1], rows))
        bias, row_factor = _rows_of(self.bias, rows), _rows_of(self.row_factor, rows)
        relative = None if self.relative is None else self.relative[rows]
        return replace(self, rows=rows, row_rotary=rotary, bias=bias, row_factor=row_factor, relative=relative)


@dataclass(frozen=True, slots=True)
class ResidualScores:
    """Raw scores summed over the layers so far (RealFormer, arXiv 2012.11747), and how many layers that were.

    The mask is no part of the sum: added in every layer it would grow with the depth.
    """

    total: Tensor  # (B, H, T, S), float32: a sum over many layers outgrows three digits
    num_layers: int

    def add(self, scores: Tensor) -> ResidualScores:
        """The sum with one more layer's scores."""
        return ResidualScores(self.total + scores, self.num_layers + 1)

    def at(self, rows: Tensor) -> ResidualScores:
        """The scores of queries at some positions (B, Q) only."""
        return ResidualScores(_rows_of(self.total, rows), self.num_layers)


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
        parts = self._project(hidden_states, context.rows)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        if context.rotary is not None:
            query, key = rotate(query, *(context.row_rotary or context.rotary)), rotate(key, *context.rotary)
        if context.cached is not None:
            key, value = context.cached.extend(key, value)
        if context.row_factor is not None:
            query = (query * context.row_factor).to(query.dtype)
        if previous is not None and context.rows is not None:
            previous = previous.at(context.rows)
        mixed, scores = self._attend(query, key, value, context, previous)
        return self.output(mixed.transpose(1, 2).flatten(2)), scores

    def _project(self, hidden_states: Tensor, rows: Tensor | None) -> Sequence[Tensor]:
        if rows is None:
            fused: Tensor = self.query_key_value(hidden_states)
            parts: Sequence[Tensor] = fused.split(self.sizes, dim=-1)
            return parts
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        size = self.sizes[0]
        query = functional.linear(take_rows(hidden_states, rows), weight[:size], None if bias is None else bias[:size])
        both = functional.linear(hidden_states, weight[size:], None if bias is None else bias[size:])
        return query, *both.split(self.sizes[1:], dim=-1)

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
        axes = "ijd" if context.rows is None else "bijd"  # of the relative vectors: each text asks elsewhere
        query = query * self.scale
        scores = query @ key.transpose(2, 3)
        if context.relative is not None:
            relative = context.relative.to(scores.dtype)
            scores = scores + torch.einsum(f"bhid,{axes}->bhij", query, relative)
        residual = None
        if self.residual != "none":
            residual = ResidualScores(scores.float(), 1) if previous is None else previous.add(scores)
            scores = residual.total / residual.num_layers if self.residual == "mean" else residual.total
        if context.bias is not None:
            scores = scores + context.bias.to(scores.dtype)
        weights = self.dropout(scores.softmax(dim=-1).to(value.dtype))
        mixed = weights @ value
        if context.relative is not None:
            mixed = mixed + torch.einsum(f"bhij,{axes}->bhid", weights, relative)
        return mixed, residual


def explicit_is_faster(query: Tensor, *, dropout: bool) -> bool:
    """Which form to take for queries (B, H, T, D)."""
    on_cpu = query.device.type == "cpu" and query.shape[2] <= EXPLICIT_UP_TO
    return on_cpu and (dropout or query.dtype == torch.bfloat16)


def take_rows(states: Tensor, rows: Tensor) -> Tensor:
    """Of states (B or 1, T, ...) those at the positions `rows` (B, Q) -> (B, Q, ...)."""
    texts = torch.arange(rows.shape[0], device=rows.device)[:, None]
    return states.expand(rows.shape[0], *states.shape[1:])[texts, rows]


@overload
def _rows_of(table: None, rows: Tensor) -> None: ...
@overload
def _rows_of(table: Tensor, rows: Tensor) -> Tensor: ...
def _rows_of(table: Tensor | None, rows: Tensor) -> Tensor | None:
    """The rows of a table (B or 1, H or 1, T, ...); one that has a single row serves every position as it is."""
    if table is None or table.shape[2] == 1:
        return table
    return take_rows(table.transpose(1, 2), rows).transpose(1, 2)
