"""One more token a row through a `Transformer`: the same modules in the fewest operations.

A step of a small model spends more time around its products than in them. So there is no axis for the one token, no
dropout, no mask where every row sees all that is stored, and no choice that was not made when the step was built.
Parts that need scores (relative positions, residual scores) or count keys go through the model's own call.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from nlpx.models.attention import SelfAttention
from nlpx.models.cache import CachedLayer, KeyValueCache
from nlpx.models.masks import additive
from nlpx.models.positions import rotate
from nlpx.models.transformer import Block, Transformer

RotaryTables = tuple[Tensor, Tensor]


def is_plain(model: Transformer) -> bool:
    """Whether `step` can compute a model."""
    config = model.config
    return (
        config.attention == "softmax"
        and config.position not in ("relative", "bucketed")
        and config.residual_scores == "none"
        and config.attention_scale != "entropy_invariant"
    )


def step(model: Transformer, token_ids: Tensor, segment_ids: Tensor | None, cache: KeyValueCache) -> Tensor:
    """Logits (B, V) behind the tokens (B,), which the cache then holds; `segment_ids` (B, 1)."""
    device, end = token_ids.device, cache.end(1)
    positions = cache.positions(1, device)  # (B or 1, 1)
    hidden = model.embeddings(token_ids[:, None], None, segment_ids, positions, end, None)[:, 0]  # (B, D)
    rotary = None if model.rotary is None else model.rotary.tables(positions, end)
    bias = additive(cache.visible(None, 1, device), hidden.dtype)  # (B, 1, 1, slots)
    for index, cached in enumerate(cache.layers):
        hidden = _block(model.layers[index % len(model.layers)], hidden, cached, rotary, bias)  # type: ignore[arg-type]
    cache.advance([1] * cache.num_rows)
    if model.norm is not None:
        hidden = model.norm(hidden)
    logits: Tensor = model.lm_head(hidden, model.embeddings.word_embeddings.weight, None)  # type: ignore[misc]
    return logits


def _block(
    block: Block, hidden: Tensor, cached: CachedLayer, rotary: RotaryTables | None, bias: Tensor | None
) -> Tensor:
    if block.norm_place == "pre":
        hidden = hidden + _attend(block.attention, block.attention_norm(hidden), cached, rotary, bias)
        return hidden + block.feed_forward(block.feed_forward_norm(hidden))  # type: ignore[no-any-return]
    hidden = hidden + _attend(block.attention, hidden, cached, rotary, bias)
    if block.norm_place == "grover":
        return block.feed_forward_norm(hidden + block.feed_forward(block.attention_norm(hidden)))  # type: ignore[no-any-return]
    hidden = block.attention_norm(hidden)
    return block.feed_forward_norm(hidden + block.feed_forward(hidden))  # type: ignore[no-any-return]


def _attend(
    attention: SelfAttention, hidden: Tensor, cached: CachedLayer, rotary: RotaryTables | None, bias: Tensor | None
) -> Tensor:
    num_rows, num_heads = hidden.shape[0], attention.num_heads
    fused = attention.query_key_value(hidden).split(attention.sizes, dim=-1)  # (B, HD) each
    query, key, value = (part.view(num_rows, num_heads, 1, -1) for part in fused)  # (B, H, 1, D)
    if rotary is not None:
        query, key = rotate(query, *rotary), rotate(key, *rotary)
    key, value = cached.extend(key, value)  # (B, H, slots, D)
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=attention.scale)
    return attention.output(mixed.reshape(num_rows, -1))  # type: ignore[no-any-return]
