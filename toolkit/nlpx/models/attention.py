"""Multi-head self-attention in two forms with equal results: eager products and torch's fused kernel.

Which is faster was measured (docs/performance.md): on a CPU torch's fused kernel is behind wherever it meets dropout or
bfloat16, most of all on long texts, and ahead for plain float32 inference; on other devices it is the faster one.
Relative positions (NEZHA) and residual scores (RealFormer) need the scores: always eager. Performer attention has
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
from nlpx.models.logit_scale import constant_logit_scale
from nlpx.models.performer import RandomFeatures, performer_attention
from nlpx.models.positions import rotate

EAGER_UP_TO = 1024  # tokens; beyond it the eager form's score matrices take more memory than they save time


@dataclass(frozen=True, slots=True)
class AttentionContext:
    """What all layers of one call share: mask as additive bias (B or 1, 1, T or 1, S) and position tables.

    The T queries look at S keys: as many, or with a cache also those that are stored.
    """

    bias: Tensor | None = None
    rotary: tuple[Tensor, Tensor] | None = None
    relative: Tensor | None = None  # (T, S, D)
    logit_scale: Tensor | None = None  # (B or 1, 1, T or 1, 1), float32: a factor on the scores of each query
    causal: bool = False  # this and the next take the place of the bias where no scores exist (performer)
    keys: Tensor | None = None  # (B, T), true for real keys
    cached: CachedLayer | None = None  # the one part that each layer has for itself
    query_positions: Tensor | None = None  # (B, Q): queries are made at these of the T positions; None: at all
    query_rotary: tuple[Tensor, Tensor] | None = None  # the position tables of `query_positions`

    def at(self, positions: Tensor) -> AttentionContext:
        """The same with queries at some positions (B, Q) only; keys and values stay those of all positions.

        Raises `UsageError` for causal performers, which carry sums from position to position.
        """
        if self.causal:
            raise UsageError("a causal performer computes every position: query_positions cannot be given")
        return replace(
            self,
            query_positions=positions,
            query_rotary=None
            if self.rotary is None
            else (_at_positions(self.rotary[0], positions), _at_positions(self.rotary[1], positions)),
            bias=_at_positions(self.bias, positions),
            logit_scale=_at_positions(self.logit_scale, positions),
            relative=None if self.relative is None else self.relative[positions],  # (B, Q, S, D)
        )


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

    def at(self, positions: Tensor) -> ResidualScores:
        """The scores of queries at some positions (B, Q) only."""
        return ResidualScores(_at_positions(self.total, positions), self.num_layers)


class SelfAttention(nn.Module):
    """hidden states (B, T, D) -> (B, T, D). One linear map makes queries, keys and values."""

    def __init__(self, config: ModelConfig, pool: NoisePool, layer: int = 0) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.key_size, self.head_size = config.key_size, config.head_size
        self.scale = constant_logit_scale(config)
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
        parts = self._project(hidden_states, context.query_positions)  # (B, T, HD) each
        query, key, value = (part.view(*part.shape[:2], self.num_heads, -1).transpose(1, 2) for part in parts)
        if context.rotary is not None:
            query, key = rotate(query, *(context.query_rotary or context.rotary)), rotate(key, *context.rotary)
        if context.cached is not None:
            key, value = context.cached.extend(key, value)  # (B, H, S, D)
        if context.logit_scale is not None:
            # Scaling the queries scales their scores, and works in all three forms of attention.
            query = (query * context.logit_scale).to(query.dtype)
        if previous is not None and context.query_positions is not None:
            previous = previous.at(context.query_positions)
        mixed, scores = self._attend(query, key, value, context, previous)
        return self.output(mixed.transpose(1, 2).flatten(2)), scores  # (B, T, D)

    def _project(self, hidden_states: Tensor, positions: Tensor | None) -> Sequence[Tensor]:
        if positions is None:
            fused: Tensor = self.query_key_value(hidden_states)  # (B, T, 3HD)
            parts: Sequence[Tensor] = fused.split(self.sizes, dim=-1)
            return parts
        if not isinstance(self.query_key_value, nn.Linear):  # quantised: its rows cannot be taken apart
            query, key, value = self.query_key_value(hidden_states).split(self.sizes, dim=-1)
            return take_positions(query, positions), key, value
        # The first rows of the fused map make queries, which only `positions` need; the rest makes keys and values.
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        size = self.sizes[0]
        states = take_positions(hidden_states, positions)  # (B, Q, D)
        query = functional.linear(states, weight[:size], None if bias is None else bias[:size])  # (B, Q, HD)
        both = functional.linear(hidden_states, weight[size:], None if bias is None else bias[size:])  # (B, T, 2HD)
        return query, *both.split(self.sizes[1:], dim=-1)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, context: AttentionContext, previous: ResidualScores | None
    ) -> tuple[Tensor, ResidualScores | None]:
        if self.features is not None:
            return self._performer(query, key, value, context, self.features.projection), None
        rate = self.dropout.rate if self.training else 0.0
        needs_scores = context.relative is not None or self.residual != "none"
        if needs_scores or eager_is_faster(query, dropout=rate > 0):
            return self._eager(query, key, value, context, previous)
        bias = None if context.bias is None else context.bias.to(query.dtype)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=rate, scale=self.scale
        )
        return mixed, None

    def _performer(
        self, query: Tensor, key: Tensor, value: Tensor, context: AttentionContext, projection: Tensor
    ) -> Tensor:
        half = self.scale**0.5  # on queries and keys alike, so that their product has the whole scale
        return performer_attention(
            query * half, key * half, value, projection, causal=context.causal, keys=context.keys
        )

    def _eager(
        self, query: Tensor, key: Tensor, value: Tensor, context: AttentionContext, previous: ResidualScores | None
    ) -> tuple[Tensor, ResidualScores | None]:
        axes = (
            "ijd" if context.query_positions is None else "bijd"
        )  # of the relative vectors: each text has its queries
        query = query * self.scale  # the small tensor is scaled, not the scores
        scores = query @ key.transpose(2, 3)  # (B, H, T, S)
        if context.relative is not None:
            relative = context.relative.to(scores.dtype)
            scores = scores + torch.einsum(f"bhid,{axes}->bhij", query, relative)  # (B, H, T, S)
        residual = None
        if self.residual != "none":
            residual = ResidualScores(scores.float(), 1) if previous is None else previous.add(scores)
            scores = residual.total / residual.num_layers if self.residual == "mean" else residual.total
        if context.bias is not None:
            # After the residual sum, so that the mask is added once however deep the model is.
            scores = scores + context.bias.to(scores.dtype)
        weights = self.dropout(scores.softmax(dim=-1).to(value.dtype))  # (B, H, T, S)
        mixed = weights @ value  # (B, H, T, D)
        if context.relative is not None:
            mixed = mixed + torch.einsum(f"bhij,{axes}->bhid", weights, relative)  # (B, H, T, D)
        return mixed, residual


def eager_is_faster(query: Tensor, *, dropout: bool) -> bool:
    """Whether the eager form is faster than the fused one for queries (B, H, T, D)."""
    on_cpu = query.device.type == "cpu" and query.shape[2] <= EAGER_UP_TO
    return on_cpu and (dropout or query.dtype == torch.bfloat16)


def take_positions(states: Tensor, positions: Tensor) -> Tensor:
    """Of states (B or 1, T, ...) those at `positions` (B, Q) -> (B, Q, ...)."""
    texts = torch.arange(positions.shape[0], device=positions.device)[:, None]  # (B, 1)
    return states.expand(positions.shape[0], *states.shape[1:])[texts, positions]


@overload
def _at_positions(table: None, positions: Tensor) -> None: ...
@overload
def _at_positions(table: Tensor, positions: Tensor) -> Tensor: ...
def _at_positions(table: Tensor | None, positions: Tensor) -> Tensor | None:
    """A table (B or 1, H or 1, T, ...) at `positions` (B, Q); with T = 1 it serves every position as it is."""
    if table is None or table.shape[2] == 1:
        return table
    return take_positions(table.transpose(1, 2), positions).transpose(1, 2)  # (B, H, Q, ...)
