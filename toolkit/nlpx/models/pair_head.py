"""A classifier over two texts that were read apart, each by itself: it has only to compare.

The features of unit vectors u and v are sqrt(D) |u - v|, D u * v, whose entries are then of the order of one, and their
cosine (Sentence-BERT's |u - v|, arXiv 1908.10084, and InferSent's u * v, arXiv 1705.02364). They do not change when the
texts change places. Of two classes the cosine also speaks for the second one directly, so that a model whose vectors
are good for something answers well before anything is trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlpx.errors import UsageError
from nlpx.models.activations import activation
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.norms import ConditionMap

# The logit that the cosine alone gives at the start, 8 cos - 4: even odds at a cosine of one half.
COSINE_SCALE, COSINE_OFFSET = 8.0, -4.0


class PairClassifier(nn.Module):
    """Class logits (B, num_labels) of B pairs from 2B pooled texts: first the B first texts, then the B second."""

    def __init__(self, config: ModelConfig, pool: NoisePool) -> None:
        super().__init__()
        self.pooling = config.classification_pooling  # of the texts, by whoever calls
        self.dropout = Dropout(config.hidden_dropout, pool)
        self.dense = nn.Linear(2 * config.hidden_size + 1, config.pair_hidden_size)
        self.act = activation(config.hidden_act)
        self.linear = nn.Linear(config.pair_hidden_size, config.num_labels)
        self.cosine = CosineLogit(config) if config.num_labels == 2 else None

    def forward(self, vectors: Tensor, condition: Tensor | None) -> Tensor:
        """`vectors` (2B, D), `condition` (2B, condition_size) or None. Raises `UsageError` for odd rows."""
        if len(vectors) % 2:
            raise UsageError(f"the head `pair` compares two texts: {len(vectors)} rows are no pairs")
        # In float32: a difference of near vectors has few digits left in bfloat16.
        first, second = functional.normalize(vectors.float(), dim=-1).chunk(2)  # (B, D) each
        size = vectors.shape[-1]
        product = first * second  # (B, D)
        cosine = product.sum(-1, keepdim=True)  # (B, 1)
        features = torch.cat([size**0.5 * (first - second).abs(), size * product, cosine], dim=-1)  # (B, 2D + 1)
        logits: Tensor = self.linear(self.dropout(self.act(self.dense(features)))).float()  # (B, C)
        if self.cosine is None:
            return logits
        direct = self.cosine(cosine, None if condition is None else condition[: len(first)])  # (B, 1)
        return logits + functional.pad(direct, (1, 0))  # (B, 2): to the second class alone


class CosineLogit(nn.Module):
    """8 (1 + a) cos - 4 + b, where a and b start at zero and may follow from the condition."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.scale_bias = nn.Parameter(torch.zeros(1))
        self.offset_bias = nn.Parameter(torch.zeros(1))
        self.condition = ConditionMap(1, config) if config.condition_size else None

    def forward(self, cosine: Tensor, condition: Tensor | None) -> Tensor:
        """`cosine` (B, 1), `condition` (B, condition_size) or None -> logits (B, 1)."""
        scale, offset = self.scale_bias, self.offset_bias
        if self.condition is not None and condition is not None:
            scale_change, offset_change = self.condition(condition)  # (B, 1) each
            scale, offset = scale + scale_change.float(), offset + offset_change.float()  # (B, 1) each
        return COSINE_SCALE * (1 + scale) * cosine + COSINE_OFFSET + offset
