"""What sits on top of the encoder: pooler, vocabulary product, sentence relation, discriminator, classifiers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlpx.errors import UsageError
from nlpx.models.activations import activation
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.norms import ConditionMap, Norm
from nlpx.models.vocabulary_loss import vocabulary_loss

# The logit that the cosine alone gives at the start, 8 cos - 4: even odds at a cosine of one half.
COSINE_SCALE, COSINE_OFFSET = 8.0, -4.0


class Pooler(nn.Module):
    """First token's hidden state (B, T, D) -> (B, D), through a linear map and tanh (BERT) or nothing (SimBERT)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act = activation(config.pooler)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return cast(Tensor, self.act(self.dense(hidden_states[:, 0])))


class LanguageModelHead(nn.Module):
    """Hidden states (..., D) -> vocabulary logits (..., V), for masked and causal language models alike.

    The product uses the word table itself unless the checkpoint carries a matrix of its own.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.transform = config.lm_transform
        self.scale = config.hidden_size**-0.5 if config.lm_scale == "sqrt" else None
        if config.lm_transform:
            self.dense: nn.Module = nn.Linear(config.hidden_size, config.embedding_size, bias=config.use_bias)
            self.act = activation(config.hidden_act)
            self.norm = Norm(config.embedding_size, config)
        elif config.embedding_size != config.hidden_size:
            self.dense = nn.Linear(config.hidden_size, config.embedding_size, bias=config.use_bias)
        else:
            self.dense = nn.Identity()
        self.bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.lm_bias else None
        self.decoder = (
            None if config.tie_word_embeddings else nn.Parameter(torch.empty(config.vocab_size, config.embedding_size))
        )

    def forward(
        self, hidden_states: Tensor, word_embeddings: Tensor, condition: Tensor | None, targets: Tensor | None = None
    ) -> Tensor:
        """Logits, or with `targets` (N,) for states (N, D) the sum of their negative log-likelihoods, 0-d float32."""
        hidden = self.project(hidden_states, condition)
        table = word_embeddings if self.decoder is None else self.decoder
        if targets is not None:
            return vocabulary_loss(hidden, table, self.bias, targets)
        return functional.linear(hidden, table, self.bias)  # (..., V)

    def project(self, hidden_states: Tensor, condition: Tensor | None) -> Tensor:
        """What the word table is multiplied with, (..., E)."""
        hidden: Tensor = self.dense(hidden_states if self.scale is None else hidden_states * self.scale)
        return self.norm(self.act(hidden), condition) if self.transform else hidden


class Discriminator(nn.Module):
    """ELECTRA's replaced-token score per position: (B, T, D) -> (B, T); above 0 means replaced."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act = activation(config.hidden_act)
        self.prediction = nn.Linear(config.hidden_size, 1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return cast(Tensor, self.prediction(self.act(self.dense(hidden_states))).squeeze(-1))


class Classifier(nn.Module):
    """Class logits (B, num_labels) from the mean over real tokens, the first token, or the pooled vector.

    By one linear map (BERT), or by a dense one with an activation before it (RoFormer, ELECTRA).
    """

    def __init__(self, config: ModelConfig, pool: NoisePool) -> None:
        super().__init__()
        self.pooling = config.classification_pooling
        self.dropout = Dropout(config.hidden_dropout, pool)
        self.dense: nn.Linear | None = None
        if config.classification_transform != "none":
            self.dense = nn.Linear(config.hidden_size, config.hidden_size)
            self.act = activation(config.classification_transform)
        self.linear = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, hidden_states: Tensor, pooled: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        vector = one_vector(self.pooling, hidden_states, pooled, attention_mask)  # (B, D)
        if self.dense is not None:
            vector = self.act(self.dense(self.dropout(vector)))  # (B, D)
        return cast(Tensor, self.linear(self.dropout(vector)))


class PairClassifier(nn.Module):
    """Class logits (B, num_labels) of B pairs from 2B pooled texts: first the B first texts, then the B second.

    Both were read apart, so it has only to compare. The features of unit vectors u and v are sqrt(D) |u - v|, D u * v,
    whose entries are then of the order of one, and their cosine (|u - v| as in Sentence-BERT, arXiv 1908.10084, u * v
    as in InferSent, arXiv 1705.02364). They do not change when the texts change places. Of two classes the cosine
    also speaks for the second one directly, and at the start, when the last map is zero, it speaks alone: vectors which
    are good for something answer well from the first step on.
    """

    STARTS_AT_ZERO = ("linear.weight",)

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


def one_vector(pooling: str, hidden_states: Tensor, pooled: Tensor | None, attention_mask: Tensor | None) -> Tensor:
    """A text's vector (B, D) by `classification_pooling`, from states (B, T, D)."""
    if pooling == "pooler" and pooled is not None:
        return pooled
    return hidden_states[:, 0] if pooling == "first" else masked_mean(hidden_states, attention_mask)


def masked_mean(hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Mean over the real tokens: (B, T, D), mask (B, T) or None -> (B, D)."""
    if attention_mask is None:
        return hidden_states.mean(dim=1)
    weights = attention_mask.to(hidden_states.dtype)[..., None]  # (B, T, 1)
    # A row of padding alone has a mean of zeros, not 0 / 0.
    return (hidden_states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)  # (B, D)


@dataclass(frozen=True, slots=True)
class HeadInput:
    """What a head may read of one call."""

    hidden_states: Tensor  # (B, T, D)
    pooled: Tensor | None  # (B, D)
    attention_mask: Tensor | None  # (B, T)
    condition: Tensor | None  # (B, condition_size)
    word_embeddings: Tensor  # (V, E)
    lm_positions: Tensor | None  # (N,), places in the flattened B * T
    lm_targets: Tensor | None  # (N,)


@dataclass(frozen=True, slots=True)
class Head:
    """One kind of head: the attribute of the model that holds it, how it is built, and what it makes of a call."""

    attribute: str
    build: Callable[[ModelConfig, NoisePool], nn.Module]
    apply: Callable[[Any, HeadInput], Tensor]


def _vocabulary(head: LanguageModelHead, given: HeadInput) -> Tensor:
    states = given.hidden_states  # (B, T, D)
    if given.lm_positions is not None:
        states = states.flatten(0, 1)[given.lm_positions]  # (N, D)
    return cast(Tensor, head(states, given.word_embeddings, given.condition, given.lm_targets))


# In the order in which their parameters stand in a model.
HEADS: dict[str, Head] = {
    "lm": Head("lm_head", lambda config, _: LanguageModelHead(config), _vocabulary),
    "sentence": Head(
        "sentence_head",
        lambda config, _: nn.Linear(config.hidden_size, 2),
        lambda head, given: head(given.pooled),
    ),
    "discriminator": Head(
        "discriminator",
        lambda config, _: Discriminator(config),
        lambda head, given: head(given.hidden_states),
    ),
    "classification": Head(
        "classifier",
        Classifier,
        lambda head, given: head(given.hidden_states, given.pooled, given.attention_mask),
    ),
    "pair": Head(
        "pair_classifier",
        PairClassifier,
        lambda head, given: head(
            one_vector(head.pooling, given.hidden_states, given.pooled, given.attention_mask), given.condition
        ),
    ),
}
