"""Attention of a target to its source: queries of the one, keys and values of the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlpx.models.attention import eager_is_faster
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.logit_scale import constant_logit_scale


class CrossAttention(nn.Module):
    """Target states (R, T, D) -> (R, T, D) from the keys and values of B sources, R a multiple of B.

    Keys and values do not change while a target grows: `keys_values` makes them once. Row r belongs to source
    r // (R / B), so beams share those of their source.
    """

    def __init__(self, config: ModelConfig, pool: NoisePool) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.scale = constant_logit_scale(config)
        keys, values = (self.num_heads * size for size in (config.key_size, config.head_size))
        self.query = nn.Linear(config.hidden_size, keys, bias=config.use_bias)
        self.key = nn.Linear(config.hidden_size, keys, bias=config.use_bias)
        self.value = nn.Linear(config.hidden_size, values, bias=config.use_bias)
        self.output = nn.Linear(values, config.hidden_size, bias=config.use_bias)
        self.dropout = Dropout(config.attention_dropout, pool)

    def keys_values(self, source_states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, S, width) of source states (B, S, D)."""
        key, value = self.key(source_states), self.value(source_states)  # (B, S, HD) each
        return _by_head(key, self.num_heads), _by_head(value, self.num_heads)

    def forward(self, hidden_states: Tensor, keys_values: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
        """Mixed states; `bias` (B, 1, 1, S) hides padding of the sources."""
        key, value = keys_values  # (B, H, S, D) each
        num_rows, length, _ = hidden_states.shape
        # Queries know no position here, so the rows of one source are one longer list of queries.
        query = self.query(hidden_states).reshape(len(key), num_rows // len(key) * length, -1)  # (B, RT / B, HD)
        mixed = self._attend(_by_head(query, self.num_heads), key, value, bias).transpose(1, 2)  # (B, RT / B, H, D)
        output: Tensor = self.output(mixed.reshape(num_rows, length, -1))  # (R, T, D)
        return output

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        rate = self.dropout.rate if self.training else 0.0
        if not eager_is_faster(query, dropout=rate > 0):
            mask = None if bias is None else bias.to(query.dtype)
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, dropout_p=rate, scale=self.scale
            )
        scores = torch.matmul(query * self.scale, key.transpose(2, 3))  # (B, H, RT / B, S)
        if bias is not None:
            scores = scores + bias.to(scores.dtype)
        return torch.matmul(self.dropout(scores.softmax(dim=-1).to(value.dtype)), value)


def _by_head(states: Tensor, num_heads: int) -> Tensor:
    size = states.shape[-1] // num_heads
    return states.view(*states.shape[:2], num_heads, size).transpose(1, 2)  # (B, H, T, D)
