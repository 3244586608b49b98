"""The one Transformer: embeddings, blocks, heads. What varies is a part chosen by name in `ModelConfig`.

Unusual here:
- queries, keys and values come from one linear map;
- every norm takes an optional condition vector;
- the mask is an argument of the call, not a property of the model;
- nothing is computed for padding that a batch does not have: a full batch runs without a mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nlpx.errors import InputError, UsageError
from nlpx.models.activations import activation
from nlpx.models.attention import AttentionContext, ResidualScores, SelfAttention, take_positions
from nlpx.models.cache import KeyValueCache
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.heads import Classifier, Discriminator, LanguageModelHead, Pooler
from nlpx.models.load_report import LoadReport
from nlpx.models.logit_scale import logit_scale
from nlpx.models.masks import additive, num_visible, num_visible_in_sums, sums_only, visible
from nlpx.models.norms import ConditionMap, Norm
from nlpx.models.performer import RandomFeatures
from nlpx.models.positions import PositionEmbeddings, RelativePositions, Rotary


@dataclass(slots=True)
class ModelOutput:
    """What one call returns. `logits` is (B, T, V), (B, T) or (B, num_labels) by head; absent parts are None."""

    last_hidden_state: Tensor  # (B, T, D)
    hidden_states: tuple[Tensor, ...] | None = None  # one (B, T, D) per block, on request
    pooled: Tensor | None = None  # (B, D)
    logits: Tensor | None = None
    sentence_logits: Tensor | None = None  # (B, 2): next-sentence or sentence-order head
    lm_loss: Tensor | None = None  # 0-d, float32: in place of the logits where `lm_targets` were given


class Transformer(nn.Module):
    """Encoder or decoder-only Transformer with the heads its configuration names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.load_report: LoadReport | None = None  # set by `load_model`
        self.noise_pool = NoisePool()
        self.embeddings = Embeddings(config, self.noise_pool)
        num_blocks = 1 if config.share_layers == "all" else config.num_layers
        self.layers = nn.ModuleList(Block(config, self.noise_pool, layer) for layer in range(num_blocks))
        self.norm = Norm(config.hidden_size, config) if config.norm_place == "pre" else None
        self.rotary = Rotary(config.key_size) if config.position == "rotary" else None
        self.relative = (
            RelativePositions(config.max_relative_position, config.key_size) if config.position == "relative" else None
        )
        self.condition_embeddings = (
            nn.Embedding(config.num_conditions, config.condition_size) if config.num_conditions else None
        )
        self.pooler = Pooler(config) if config.pooler != "none" else None
        self.lm_head = LanguageModelHead(config) if "lm" in config.heads else None
        self.sentence_head = nn.Linear(config.hidden_size, 2) if "sentence" in config.heads else None
        self.discriminator = Discriminator(config) if "discriminator" in config.heads else None
        self.classifier = Classifier(config, self.noise_pool) if "classification" in config.heads else None
        self.initialise()

    def initialise(self) -> None:
        """Truncated normal weights (std `initializer_range`), zero biases, unit norms, zero condition maps."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                elif parameter.dim() == 1:
                    parameter.fill_(1.0)
                else:
                    nn.init.trunc_normal_(parameter, std=self.config.initializer_range, a=-2, b=2)
            for module in self.modules():
                if isinstance(module, ConditionMap):
                    module.reset()

    def forward(
        self,
        token_ids: Tensor,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        mask: str | Tensor | None = None,
        position_ids: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        return_hidden_states: bool = False,
        lm_positions: Tensor | None = None,
        lm_targets: Tensor | None = None,
        cache: KeyValueCache | None = None,
        query_positions: Tensor | None = None,
    ) -> ModelOutput:
        """Run the model on `token_ids` (B, T).

        `segment_ids`, `attention_mask` (1 = real token) and `position_ids` are (B, T); `mask` is a name or a boolean
        tensor (B, T, T), by default the configuration's. `condition` is (B,) row numbers of the condition table or
        (B, condition_size) vectors. `lm_positions` (N,), indices into the flattened B * T, restricts the vocabulary
        product to those positions: logits are then (N, V). With `lm_targets` (N,), what should stand there, the output
        has `lm_loss`, the sum of their negative log-likelihoods in nats, and no logits, which saves much memory.
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
        positions, num_positions = self._positions(token_ids, position_ids, cache)
        context = self._context(token_ids, segment_ids, attention_mask, mask, positions, num_positions, cache)
        hidden = self.embeddings(token_ids, segment_ids, positions, num_positions, vector)
        outputs: list[Tensor] = []
        scores: ResidualScores | None = None
        for index in range(self.config.num_layers):
            of_layer = context if cache is None else replace(context, cached=cache.layers[index])
            if query_positions is not None and index == self.config.num_layers - 1:
                of_layer = of_layer.at(query_positions)
            # The remainder is for shared layers: one block then serves every index.
            hidden, scores = self.layers[index % len(self.layers)](hidden, of_layer, vector, scores)  # B T D
            if return_hidden_states:
                outputs.append(hidden)
        if cache is not None:
            cache.advance(_num_real(token_ids, attention_mask))
        if self.norm is not None:
            hidden = self.norm(hidden, vector)
        if query_positions is not None:
            return ModelOutput(hidden, tuple(outputs) or None, logits=self._vocabulary(hidden, lm_positions, vector))
        if lm_targets is None:
            output = self._apply_heads(hidden, attention_mask, lm_positions, vector)
        else:
            output = ModelOutput(hidden, lm_loss=self._vocabulary(hidden, lm_positions, vector, lm_targets))
        output.hidden_states = tuple(outputs) if return_hidden_states else None
        return output

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
        self, token_ids: Tensor, position_ids: Tensor | None, cache: KeyValueCache | None
    ) -> tuple[Tensor, int]:
        if position_ids is not None:
            return position_ids, int(position_ids.max()) + 1
        length = token_ids.shape[1]
        if cache is not None:
            return cache.positions(length, token_ids.device), cache.end(length)
        return torch.arange(length, device=token_ids.device)[None], length

    def _context(
        self,
        token_ids: Tensor,
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
            scale = logit_scale(self.config, lambda: num_visible_in_sums(token_ids, keys, causal=causal))
            return AttentionContext(rotary=rotary, logit_scale=scale, causal=causal, keys=keys)
        length, stored = token_ids.shape[1], 0 if cache is None else cache.lengths[0]
        only_one = length == 1 and attention_mask is None and cache is not None  # a token always sees itself
        visibility = None
        if not only_one:
            visibility = visible(chosen, attention_mask, segment_ids, length, token_ids.device)
        if cache is not None:
            visibility = cache.visible(visibility, length, token_ids.device)
        return AttentionContext(
            bias=additive(visibility, torch.float32),
            rotary=rotary,
            relative=None if self.relative is None else self.relative(positions, stored),
            logit_scale=logit_scale(self.config, lambda: num_visible(visibility, stored + length, token_ids.device)),
        )

    def _apply_heads(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None,
        lm_positions: Tensor | None,
        vector: Tensor | None,
    ) -> ModelOutput:
        output = ModelOutput(hidden, pooled=None if self.pooler is None else self.pooler(hidden))
        if self.sentence_head is not None:
            output.sentence_logits = self.sentence_head(output.pooled)
        if self.classifier is not None:
            output.logits = self.classifier(hidden, output.pooled, attention_mask)
        elif self.discriminator is not None:
            output.logits = self.discriminator(hidden)
        else:
            output.logits = self._vocabulary(hidden, lm_positions, vector)
        return output

    def _vocabulary(
        self, hidden: Tensor, lm_positions: Tensor | None, vector: Tensor | None, targets: Tensor | None = None
    ) -> Tensor | None:
        if self.lm_head is None:
            return None
        states = hidden if lm_positions is None else hidden.flatten(0, 1)[lm_positions]  # B T D or N D
        found: Tensor = self.lm_head(states, self.embeddings.word_embeddings.weight, vector, targets)
        return found


def _num_real(token_ids: Tensor, attention_mask: Tensor | None) -> list[int]:
    num_rows, length = token_ids.shape
    return [length] * num_rows if attention_mask is None else attention_mask.sum(dim=1).tolist()


class Embeddings(nn.Module):
    """Token, segment and position vectors, summed, normalised, and projected where the table is narrower."""

    def __init__(self, config: ModelConfig, pool: NoisePool) -> None:
        super().__init__()
        size = config.embedding_size
        self.word_embeddings = nn.Embedding(config.vocab_size, size)
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
            nn.Linear(size, config.hidden_size, bias=config.use_bias) if size != config.hidden_size else nn.Identity()
        )

    def forward(
        self,
        token_ids: Tensor,
        segment_ids: Tensor | None,
        positions: Tensor,
        num_positions: int,
        condition: Tensor | None,
    ) -> Tensor:
        hidden = self.word_embeddings(token_ids)  # B T E
        if self.token_type_embeddings is not None:
            segments = torch.zeros_like(token_ids) if segment_ids is None else segment_ids
            hidden = hidden + self.token_type_embeddings(segments)
        if self.position_embeddings is not None:
            hidden = hidden + self.position_embeddings(positions, num_positions)
        if self.norm is not None:
            hidden = self.norm(hidden, condition)
        projected: Tensor = self.project(self.dropout(hidden))  # B T D
        return projected


class FeedForward(nn.Module):
    """Position-wise map (B, T, D) -> (B, T, D): dense, or gated by a second input map (arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)
        self.gate = (
            nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)
            if config.feed_forward == "gated"
            else None
        )
        self.act = activation(config.hidden_act)
        self.output = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.use_bias)

    def forward(self, hidden_states: Tensor) -> Tensor:
        inner = self.act(self.input(hidden_states))  # B T I
        output: Tensor = self.output(inner if self.gate is None else inner * self.gate(hidden_states))
        return output


class Block(nn.Module):
    """Attention and feed-forward, each added to its input; norms after the sum (post) or before the part (pre)."""

    def __init__(self, config: ModelConfig, pool: NoisePool, layer: int) -> None:
        super().__init__()
        self.attention = SelfAttention(config, pool, layer)
        self.attention_norm = Norm(config.hidden_size, config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = Norm(config.hidden_size, config)
        self.dropout = Dropout(config.hidden_dropout, pool)
        self.norm_first = config.norm_place == "pre"

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
        if self.norm_first:
            mixed, scores = self.attention(self.attention_norm(hidden, condition), context, previous)
            hidden = residual + self.dropout(mixed)  # B Q D
            return hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden, condition))), scores
        mixed, scores = self.attention(hidden, context, previous)
        hidden = self.attention_norm(residual + self.dropout(mixed), condition)  # B Q D
        return self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)), condition), scores
