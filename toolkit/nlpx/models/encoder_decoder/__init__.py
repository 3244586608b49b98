"""Encoder and decoder (T5, arXiv 1910.10683; mT5, arXiv 2010.11934).

The encoder is the one Transformer as it is. The decoder is a stack of its own that shares the encoder's word table and
its source of dropout noise. Both read relative buckets for positions, so no text is too long for them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from torch import Tensor, nn

from nlpx.errors import UsageError
from nlpx.models.cache import KeyValueCache
from nlpx.models.config import ModelConfig
from nlpx.models.encoder import Encoder, ModelOutput, one_input
from nlpx.models.encoder_decoder.decoder import Decoder, Source
from nlpx.models.heads import LanguageModelHead
from nlpx.models.initialisation import initialise
from nlpx.models.transformer import Transformer

__all__ = ["EncoderDecoder", "Source"]


class EncoderDecoder(Encoder):
    """Reads a source, writes a target. `config` is one for both; `num_decoder_layers` is the depth of the decoder."""

    config: ModelConfig

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Transformer(config.with_choices(heads=()))
        self.noise_pool = self.encoder.noise_pool
        self.decoder = Decoder(self.decoder_config(), self.noise_pool)
        self.lm_head = LanguageModelHead(config)
        self.initialise()

    @property
    def members(self) -> tuple[Transformer, Decoder]:
        """The stacks, each with blocks of its own."""
        return self.encoder, self.decoder

    def decoder_config(self) -> ModelConfig:
        """The configuration of the decoder's stack, and of a cache for it."""
        return self.config.with_choices(num_layers=self.config.num_decoder_layers, heads=(), mask="causal")

    def initialise(self, names: Collection[str] | None = None) -> None:
        """Random weights (std `initializer_range`) for the parameters of `names`, or all."""
        initialise(self, std=self.config.initializer_range, names=names)

    def forward(  # type: ignore[override]  # two texts
        self,
        source_ids: Tensor | None = None,
        source_mask: Tensor | None = None,
        target_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        target_embeds: Tensor | None = None,
        heads: Sequence[str] | None = None,
        lm_positions: Tensor | None = None,
        lm_targets: Tensor | None = None,
    ) -> ModelOutput:
        """States and logits (B, T, V) of target tokens: position t says what follows `target_ids[:, : t + 1]`.

        `source_ids` are (B, S), `source_mask` (B, S) has 1 for real tokens, `target_ids` (B, T) begin with the start
        token; padding at their end is seen by nothing before it. `inputs_embeds` (B, S, D) and `target_embeds`
        (B, T, D) take the place of the word vectors of either. `heads`, `lm_positions` and `lm_targets` are about the
        target and mean what they mean for a `Transformer`: with targets there is `lm_loss` and no logits.
        Raises `UsageError` if the target is missing or given twice.
        """
        source = self.encode(source_ids, source_mask, inputs_embeds=inputs_embeds)
        return self.decode(
            target_ids,
            source,
            target_embeds=target_embeds,
            heads=heads,
            lm_positions=lm_positions,
            lm_targets=lm_targets,
        )

    def encode(
        self,
        source_ids: Tensor | None = None,
        source_mask: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
    ) -> Source:
        """What the decoder needs of B sources, made once however long their targets grow."""
        states = self.encoder(source_ids, attention_mask=source_mask, inputs_embeds=inputs_embeds).last_hidden_state
        return self.decoder.source(self.decoder.dropout(states), source_mask)

    def decode(
        self,
        target_ids: Tensor | None,
        source: Source,
        *,
        cache: KeyValueCache | None = None,
        target_embeds: Tensor | None = None,
        heads: Sequence[str] | None = None,
        lm_positions: Tensor | None = None,
        lm_targets: Tensor | None = None,
    ) -> ModelOutput:
        """As `forward`, for B sources and R target rows (R, T), R / B neighbouring ones for each source.

        With a cache (of `decoder_config()`) the tokens follow those it holds.
        """
        given = one_input(target_ids, target_embeds)
        vectors = self.get_input_embeddings()(given) if target_embeds is None else target_embeds  # (R, T, D)
        states = self.decoder(vectors, source, cache)
        unknown = [name for name in heads or () if name != "lm"]
        if unknown:
            raise UsageError(f"the model has no head `{unknown[0]}`", hint="it has: lm")
        if heads is not None and "lm" not in heads:
            return ModelOutput(states)
        chosen = states if lm_positions is None else states.flatten(0, 1)[lm_positions]  # (R, T, D) or (N, D)
        found = self.lm_head(chosen, self.get_input_embeddings().weight, None, lm_targets)
        if lm_targets is not None:
            return ModelOutput(states, lm_loss=found)
        return ModelOutput(states, heads={"lm": found})

    def get_input_embeddings(self) -> nn.Embedding:
        """The word table, which source and target share."""
        return self.encoder.get_input_embeddings()

    def save(self, directory: Path) -> None:
        """Write our own form of a checkpoint."""
        from nlpx.models.checkpoints.save import save_model

        save_model(self, directory)
