"""The stack that writes: causal blocks that also look at a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nlpx.models.attention import AttentionContext, SelfAttention
from nlpx.models.cache import KeyValueCache
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.encoder_decoder.cross_attention import CrossAttention
from nlpx.models.masks import additive, visible
from nlpx.models.norms import Norm
from nlpx.models.transformer import FeedForward, bucketed_positions


@dataclass(slots=True)
class Source:
    """What a decoder reads of B sources: keys and values of every layer, and a bias that hides padding."""

    layers: list[tuple[Tensor, Tensor]]  # (B, H, S, width) each
    bias: Tensor | None  # (B, 1, 1, S)

    @property
    def num_sources(self) -> int:
        """B."""
        return self.layers[0][0].shape[0]

    def select(self, rows: Sequence[int]) -> None:
        """Keep these sources in this order; one that is named twice is copied."""
        index = torch.tensor(list(rows), device=self.layers[0][0].device)
        self.layers = [(key[index], value[index]) for key, value in self.layers]
        self.bias = None if self.bias is None else self.bias[index]


class Decoder(nn.Module):
    """Target vectors and their sources -> target states. `config` is that of the stack: causal, with its own depth."""

    def __init__(self, config: ModelConfig, pool: NoisePool) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(DecoderBlock(config, pool, layer) for layer in range(config.num_layers))
        self.norm = Norm(config.hidden_size, config)
        self.bucketed = bucketed_positions(config)
        self.dropout = Dropout(config.hidden_dropout, pool)

    def source(self, states: Tensor, attention_mask: Tensor | None) -> Source:
        """What the blocks need of source states (B, S, D), `attention_mask` (B, S) being 1 for real tokens."""
        visibility = None if attention_mask is None else attention_mask.to(torch.bool)[:, None, None, :]
        return Source(
            [block.cross_attention.keys_values(states) for block in self._blocks()],
            additive(visibility, torch.float32),
        )

    def forward(self, vectors: Tensor, source: Source, cache: KeyValueCache | None = None) -> Tensor:
        """States (R, T, D) of target vectors (R, T, D), which follow those that the cache holds."""
        (num_rows, length), device = vectors.shape[:2], vectors.device
        context = self._context(length, device, cache)
        hidden = self.dropout(vectors)
        for index, block in enumerate(self._blocks()):
            of_layer = context if cache is None else replace(context, cached=cache.layers[index])
            hidden = block(hidden, of_layer, source.layers[index], source.bias)  # (R, T, D)
        if cache is not None:
            cache.advance([length] * num_rows)
        states: Tensor = self.dropout(self.norm(hidden))
        return states

    def _blocks(self) -> list[DecoderBlock]:
        return [block for block in self.layers if isinstance(block, DecoderBlock)]

    def _context(self, length: int, device: torch.device, cache: KeyValueCache | None) -> AttentionContext:
        visibility = None if length == 1 else visible("causal", None, None, length, device)
        positions, stored = torch.arange(length, device=device)[None], 0  # (1, T)
        if cache is not None:
            visibility = cache.visible(visibility, length, device)
            positions, stored = cache.positions(length, device), max(cache.lengths)
        bias = additive(visibility, torch.float32)
        if self.bucketed is not None:
            of_positions = self.bucketed(positions, stored)  # (1 or R, H, T, slots)
            bias = of_positions if bias is None else bias + of_positions
        return AttentionContext(bias=bias)


class DecoderBlock(nn.Module):
    """Attention to the target so far, attention to the source, and feed-forward, each after a norm of its own."""

    def __init__(self, config: ModelConfig, pool: NoisePool, layer: int) -> None:
        super().__init__()
        self.attention = SelfAttention(config, pool, layer)
        self.attention_norm = Norm(config.hidden_size, config)
        self.cross_attention = CrossAttention(config, pool)
        self.cross_attention_norm = Norm(config.hidden_size, config)
        self.feed_forward = FeedForward(config, pool)
        self.feed_forward_norm = Norm(config.hidden_size, config)
        self.dropout = Dropout(config.hidden_dropout, pool)

    def forward(
        self, hidden: Tensor, context: AttentionContext, keys_values: tuple[Tensor, Tensor], source_bias: Tensor | None
    ) -> Tensor:
        """States (R, T, D) after this block."""
        mixed, _ = self.attention(self.attention_norm(hidden), context)
        hidden = hidden + self.dropout(mixed)
        mixed = self.cross_attention(self.cross_attention_norm(hidden), keys_values, source_bias)
        hidden = hidden + self.dropout(mixed)
        output: Tensor = hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden)))
        return output
