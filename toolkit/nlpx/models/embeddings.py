"""The input of a Transformer: word, segment and position vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.norms import Norm
from nlpx.models.positions import PositionEmbeddings


class Embeddings(nn.Module):
    """Token, segment and position vectors, summed, normalised, and projected where the table is narrower."""

    def __init__(self, config: ModelConfig, pool: NoisePool) -> None:
        super().__init__()
        size = config.embedding_size
        self.word_embeddings = nn.Embedding(config.vocab_size, size)
        self.segments_as_tokens = config.segments_as_tokens
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size) if config.type_vocab_size else None
        alpha = config.hierarchical_alpha if config.position == "hierarchical" else None
        self.position_embeddings = (
            PositionEmbeddings(config.max_position_embeddings, size, alpha=alpha)
            if config.position in ("learned", "hierarchical")
            else None
        )
        self.norm = Norm(size, config) if config.embedding_norm else None
        self.dropout = Dropout(config.hidden_dropout, pool)
        self.project = (
            nn.Linear(size, config.hidden_size, bias=config.use_bias)
            if size != config.hidden_size or config.project_embeddings
            else nn.Identity()
        )

    def forward(
        self,
        token_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        segment_ids: Tensor | None,
        positions: Tensor,
        num_positions: int,
        condition: Tensor | None,
    ) -> Tensor:
        """States (B, T, D) of ids (B, T), or of vectors (B, T, E) in place of the rows of the word table."""
        hidden = self.word_embeddings(token_ids) if inputs_embeds is None else inputs_embeds  # (B, T, E)
        if self.token_type_embeddings is not None:
            if segment_ids is None:
                segment_ids = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)  # (B, T)
            hidden = hidden + self.token_type_embeddings(segment_ids)
        if self.segments_as_tokens and segment_ids is not None:
            hidden = hidden + self.word_embeddings(segment_ids)
        if self.position_embeddings is not None:
            hidden = hidden + self.position_embeddings(positions, num_positions)
        if self.norm is not None:
            hidden = self.norm(hidden, condition)
        projected: Tensor = self.project(self.dropout(hidden))  # (B, T, D)
        return projected
