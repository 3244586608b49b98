"""The one Transformer: embeddings, blocks, heads. What varies is a part chosen by name in `ModelConfig`.

Unusual here:
- queries, keys and values come from one linear map;
- every norm takes an optional condition vector;
- the mask is an argument of the call, not a property of the model;
- nothing is computed for padding that a batch does not have: a full batch runs without a mask.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from nlpx.errors import InputError, UsageError
from nlpx.models.activations import activation
from nlpx.models.attention import AttentionContext, ResidualScores, SelfAttention, take_positions
from nlpx.models.cache import KeyValueCache
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.embeddings import Embeddings
from nlpx.models.encoder import Encoder, ModelOutput, one_input
from nlpx.models.heads import HEADS, Classifier, Discriminator, HeadInput, LanguageModelHead, PairClassifier, Pooler
from nlpx.models.initialisation import initialise
from nlpx.models.logit_scale import logit_scale
from nlpx.models.masks import additive, num_visible, num_visible_in_sums, sums_only, visible
from nlpx.models.norms import Norm
from nlpx.models.performer import RandomFeatures
from nlpx.models.positions import BucketedPositions, RelativePositions, Rotary


class Transformer(Encoder):
    """Encoder or decoder-only Transformer with the heads its configuration names."""

    config: ModelConfig
    lm_head: LanguageModelHead | None
    sentence_head: nn.Linear | None
    discriminator: Discriminator | None
    classifier: Classifier | None
    pair_classifier: PairClassifier | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.noise_pool = NoisePool()
        self.embeddings = Embeddings(config, self.noise_pool)
        num_blocks = 1 if config.share_layers == "all" else config.num_layers
        self.layers = nn.ModuleList(Block(config, self.noise_pool, layer) for layer in range(num_blocks))
        self.norm = Norm(config.hidden_size, config) if config.norm_place == "pre" else None
        self.rotary = Rotary(config.key_size) if config.position == "rotary" else None
        self.relative = (
            RelativePositions(config.max_relative_position, config.key_size) if config.position == "relative" else None
        )
        self.bucketed = bucketed_positions(config)
        self.condition_embeddings = (
            nn.Embedding(config.num_conditions, config.condition_size) if config.num_conditions else None
        )
        self.pooler = Pooler(config) if config.pooler != "none" else None
        for name, head in HEADS.items():
            self.register_module(head.attribute, head.build(config, self.noise_pool) if name in config.heads else None)
        self.initialise()

    def initialise(self, names: Collection[str] | None = None) -> None:
        """Random weights (std `initializer_range`) for the parameters of `names`, or all."""
        initialise(self, std=self.config.initializer_range, names=names)

    def forward(
        self,
        token_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        mask: str | Tensor | None = None,
        position_ids: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        return_hidden_states: bool = False,
        heads: Sequence[str] | None = None,
        lm_positions: Tensor | None = None,
        lm_targets: Tensor | None = None,
        cache: KeyValueCache | None = None,
        query_positions: Tensor | None = None,
    ) -> ModelOutput:
        """Run the model on `token_ids` (B, T), or on `inputs_embeds` (B, T, E) in place of their word vectors.

        `segment_ids`, `attention_mask` (1 = real token) and `position_ids` are (B, T); `mask` is a name or a boolean
        tensor (B, T, T), by default the configuration's. `condition` is (B,) row numbers of the condition table or
        (B, condition_size) vectors. `heads` names those to compute, by default all of the configuration; `()` computes
        states alone. `lm_positions` (N,), indices into the flattened B * T, restricts the vocabulary
        product to those positions: logits are then (N, V). With `lm_targets` (N,), what should stand there, the output
        has `lm_loss`, the sum of their negative log-likelihoods in nats, and no logits, which saves much memory; other
        heads are computed only if `heads` names them.
        With a `cache` the tokens follow those it holds, which all of them see; mask and positions are about the new
        ones, padding stands at the end of its row, and the cache then holds them too.
        With `query_positions` (B, Q) the last block and the vocabulary product are computed at these positions of each
        row only: T becomes Q in states and logits (and B * Q what `lm_positions` counts in), the values stay the same.
        Heads that read other positions are left out.
        Raises `InputError` for texts beyond the position table and `UsageError` for a wrong mask or condition.
        """
        if attention_mask is not None and attention_mask.device.type == "cpu" and bool(attention_mask.all()):
            attention_mask = None  # elsewhere the test would make the host wait for the device
        if self.training and self.config.attention == "performer":
            self._count_call()
        vector = self._condition(condition)
        given = one_input(token_ids, inputs_embeds)
        (num_rows, length), device = given.shape[:2], given.device
        positions, num_positions = self._positions(length, device, position_ids, cache)
        context = self._context(length, device, segment_ids, attention_mask, mask, positions, num_positions, cache)
        hidden = self.embeddings(token_ids, inputs_embeds, segment_ids, positions, num_positions, vector)
        outputs: list[Tensor] = []
        scores: ResidualScores | None = None
        for index in range(self.config.num_layers):
            of_layer = context if cache is None else replace(context, cached=cache.layers[index])
            if query_positions is not None and index == self.config.num_layers - 1:
                of_layer = of_layer.at(query_positions)
            # The remainder is for shared layers: one block then serves every index.
            hidden, scores = self.layers[index % len(self.layers)](hidden, of_layer, vector, scores)  # (B, T, D)
            if return_hidden_states:
                outputs.append(hidden)
        if cache is not None:
            cache.advance([length] * num_rows if attention_mask is None else attention_mask.sum(dim=1).tolist())
        if self.norm is not None:
            hidden = self.norm(hidden, vector)
        whole = query_positions is None
        pooled = self.pooler(hidden) if self.pooler is not None and whole else None
        table = self.embeddings.word_embeddings.weight
        given_to_heads = HeadInput(hidden, pooled, attention_mask, vector, table, lm_positions, lm_targets)
        wanted = self._wanted_heads(heads, only_lm=not whole or lm_targets is not None)
        found = {name: HEADS[name].apply(module, given_to_heads) for name, module in wanted.items()}
        lm_loss = None if lm_targets is None else found.pop("lm", None)
        return ModelOutput(hidden, tuple(outputs) if return_hidden_states else None, pooled, found, lm_loss)

    def get_input_embeddings(self) -> nn.Embedding:
        """The word table."""
        return self.embeddings.word_embeddings

    def head_modules(self) -> dict[str, nn.Module]:
        """The heads of the configuration, by name."""
        return {name: getattr(self, HEADS[name].attribute) for name in self.config.heads}

    def save(self, directory: Path) -> None:
        """Write our own form of a checkpoint."""
        from nlpx.models.checkpoints.save import save_model

        save_model(self, directory)

    def _wanted_heads(self, names: Sequence[str] | None, *, only_lm: bool) -> dict[str, nn.Module]:
        if names is None:
            names = [name for name in self.config.heads if name == "lm" or not only_lm]
        unknown = [name for name in names if name not in self.config.heads]
        if unknown:
            raise UsageError(f"the model has no head `{unknown[0]}`", hint=f"it has: {', '.join(self.config.heads)}")
        modules = {name: getattr(self, HEADS[name].attribute) for name in names}
        return {name: module for name, module in modules.items() if module is not None}

    def _count_call(self) -> None:
        # Before the layers, not in them: a layer may be computed twice (shared, or recomputed for its gradient).
        for module in self.modules():
            if isinstance(module, RandomFeatures):
                module.count_call()

    def _condition(self, condition: Tensor | None) -> Tensor | None:
        if condition is None or not self.config.condition_size:
            if condition is not None:
                raise UsageError("the model has no conditional norms", hint="load it with condition_size=128")
            return None
        if self.condition_embeddings is not None and not condition.is_floating_point():
            condition = self.condition_embeddings(condition)
        return condition

    def _positions(
        self, length: int, device: torch.device, position_ids: Tensor | None, cache: KeyValueCache | None
    ) -> tuple[Tensor, int]:
        if position_ids is not None:
            return position_ids, int(position_ids.max()) + 1
        if cache is not None:
            return cache.positions(length, device), cache.end(length)
        return torch.arange(length, device=device)[None], length  # (1, T)

    def _context(
        self,
        length: int,
        device: torch.device,
        segment_ids: Tensor | None,
        attention_mask: Tensor | None,
        mask: str | Tensor | None,
        positions: Tensor,
        num_positions: int,
        cache: KeyValueCache | None,
    ) -> AttentionContext:
        chosen = self.config.mask if mask is None else mask
        if self.relative is not None and positions.shape[0] > 1:
            raise InputError("relative positions need the same position_ids in every row")
        rotary = None if self.rotary is None else self.rotary.tables(positions, num_positions)
        if self.config.attention == "performer":
            causal, keys = sums_only(chosen, attention_mask)
            scale = logit_scale(self.config, lambda: num_visible_in_sums(length, keys, causal=causal, device=device))
            return AttentionContext(rotary=rotary, logit_scale=scale, causal=causal, keys=keys)
        stored = 0 if cache is None else max(cache.lengths)
        only_one = length == 1 and attention_mask is None and cache is not None  # a token always sees itself
        visibility = None
        if not only_one:
            visibility = visible(chosen, attention_mask, segment_ids, length, device)
        if cache is not None:
            visibility = cache.visible(visibility, length, device)
        bias = additive(visibility, torch.float32)
        if self.bucketed is not None:
            of_positions = self.bucketed(positions, stored)  # (B or 1, H, T, S)
            bias = of_positions if bias is None else bias + of_positions
        return AttentionContext(
            bias=bias,
            rotary=rotary,
            relative=None if self.relative is None else self.relative(positions, stored),
            logit_scale=logit_scale(self.config, lambda: num_visible(visibility, stored + length, device)),
        )


def bucketed_positions(config: ModelConfig) -> BucketedPositions | None:
    """The part of `position="bucketed"`, for a stack with the configuration's mask."""
    if config.position != "bucketed":
        return None
    return BucketedPositions(
        config.num_position_buckets,
        config.max_bucketed_distance,
        config.num_attention_heads,
        causal=config.mask == "causal",
    )


class FeedForward(nn.Module):
    """Position-wise map (B, T, D) -> (B, T, D): dense, or gated by a second input map (arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig, pool: NoisePool) -> None:
        super().__init__()
        self.input = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)
        self.gate = (
            nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)
            if config.feed_forward == "gated"
            else None
        )
        self.act = activation(config.hidden_act)
        rate = config.feed_forward_dropout
        self.dropout = Dropout(rate, pool) if rate else nn.Identity()
        self.output = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.use_bias)

    def forward(self, hidden_states: Tensor) -> Tensor:
        inner = self.act(self.input(hidden_states))  # (B, T, I)
        if self.gate is not None:
            inner = inner * self.gate(hidden_states)
        output: Tensor = self.output(self.dropout(inner))
        return output


class Block(nn.Module):
    """Attention and feed-forward, each added to its input.

    Norms stand after the sum (post), before the part (pre), or before the feed-forward and after its sum (grover, arXiv
    1905.12616).
    """

    def __init__(self, config: ModelConfig, pool: NoisePool, layer: int) -> None:
        super().__init__()
        self.attention = SelfAttention(config, pool, layer)
        self.attention_norm = Norm(config.hidden_size, config)
        self.feed_forward = FeedForward(config, pool)
        self.feed_forward_norm = Norm(config.hidden_size, config)
        self.dropout = Dropout(config.hidden_dropout, pool)
        self.norm_place = config.norm_place

    def forward(
        self,
        hidden: Tensor,
        context: AttentionContext,
        condition: Tensor | None,
        previous: ResidualScores | None = None,
    ) -> tuple[Tensor, ResidualScores | None]:
        """States (B, T, D) after this block, and the scores it adds to where `residual_scores` is chosen."""
        # What attention is added to: the states of the positions that have a query.
        residual = hidden if context.query_positions is None else take_positions(hidden, context.query_positions)
        if self.norm_place == "pre":
            mixed, scores = self.attention(self.attention_norm(hidden, condition), context, previous)
            hidden = residual + self.dropout(mixed)  # (B, Q, D)
            return hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden, condition))), scores
        mixed, scores = self.attention(hidden, context, previous)
        hidden = residual + self.dropout(mixed)  # (B, Q, D)
        if self.norm_place == "grover":
            inner = self.feed_forward(self.attention_norm(hidden, condition))
            return self.feed_forward_norm(hidden + self.dropout(inner), condition), scores
        hidden = self.attention_norm(hidden, condition)
        return self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)), condition), scores
