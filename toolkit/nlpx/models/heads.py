"""What sits on top of the encoder: pooler, vocabulary product, sentence relation, discriminator, classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlpx.models.activations import activation
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.norms import Norm
from nlpx.models.vocabulary_loss import vocabulary_loss


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
        hidden = self.dense(hidden_states)  # (..., E)
        if self.transform:
            hidden = self.norm(self.act(hidden), condition)
        table = word_embeddings if self.decoder is None else self.decoder
        if targets is not None:
            return vocabulary_loss(hidden, table, self.bias, targets)
        return functional.linear(hidden, table, self.bias)  # (..., V)


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
        if self.pooling == "pooler" and pooled is not None:
            vector = pooled
        elif self.pooling == "first":
            vector = hidden_states[:, 0]
        else:
            vector = masked_mean(hidden_states, attention_mask)
        if self.dense is not None:
            vector = self.act(self.dense(self.dropout(vector)))  # (B, D)
        return cast(Tensor, self.linear(self.dropout(vector)))


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
}
