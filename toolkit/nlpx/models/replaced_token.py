"""ELECTRA's pair (arXiv 2003.10555): a small generator fills masked places, the discriminator finds the fillings.

No gradient passes through the choice of a filling, so the discriminator's loss reaches the generator only through the
tables that both share. The generator must stay weak: once its fillings look like the original, the best
discriminator answers one half everywhere and learns nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nlpx.errors import UsageError
from nlpx.models.config import ModelConfig
from nlpx.models.encoder import Encoder
from nlpx.models.transformer import Transformer

GENERATOR = "generator"  # of a pair: its folder, inside that of the discriminator

Table = Literal["word", "position", "type"]
TABLES: dict[Table, str] = {
    "word": "word_embeddings",
    "position": "position_embeddings",
    "type": "token_type_embeddings",
}


@dataclass(slots=True)
class ReplacedTokenOutput:
    """What one pass of the pair gives; N is the number of masked places."""

    generator_logits: Tensor  # (N, V), with the generator's graph
    discriminator_logits: Tensor  # (B, T), above 0 for replaced; with the discriminator's graph alone
    token_ids: Tensor  # (B, T), what the discriminator read
    is_replaced: Tensor  # (B, T), true where that differs from the original


class ReplacedTokenModel(Encoder):
    """Generator and discriminator with shared tables. Both stay plain models: `save_model` writes either."""

    def __init__(
        self, generator: Transformer, discriminator: Transformer, *, tied: Sequence[Table] = tuple(TABLES)
    ) -> None:
        """Give the generator the discriminator's tables of the names `tied`, as far as both have one.

        Raises `UsageError` if a head is missing or a table that is to be tied has another shape.
        """
        super().__init__()
        for model, head in ((generator, "lm"), (discriminator, "discriminator")):
            if head not in model.config.heads:
                raise UsageError(f"replaced-token detection needs the head `{head}`, which one of the models lacks")
        # The first to hold a shared table gives it its name, which rules for learning rates go by.
        self.discriminator = discriminator
        self.generator = generator
        for name in tied:
            self._tie(name)

    @property
    def config(self) -> ModelConfig:
        """That of the discriminator, which is what remains of a training."""
        return self.discriminator.config

    def get_input_embeddings(self) -> nn.Embedding:
        """The discriminator's word table."""
        return self.discriminator.get_input_embeddings()

    @property
    def members(self) -> tuple[Transformer, Transformer]:
        """The models inside, each with blocks of its own."""
        return self.discriminator, self.generator

    def save(self, directory: Path) -> None:
        """Write the discriminator as a plain checkpoint, and the generator as another in its folder `generator`."""
        self.discriminator.save(directory)
        self.generator.save(directory / GENERATOR)

    def load_weights(self, directory: Path) -> None:
        """Take back what `save` wrote."""
        self.discriminator.load_weights(directory)
        self.generator.load_weights(directory / GENERATOR)

    def forward(  # type: ignore[override]
        self,
        token_ids: Tensor,
        masked_ids: Tensor,
        masked_positions: Tensor,
        uniform: Tensor,
        *,
        temperature: float = 1.0,
        **call: Any,
    ) -> ReplacedTokenOutput:
        """Fill the masked places of `masked_ids` (B, T) and let the discriminator judge every place.

        `token_ids` (B, T) are the originals, `masked_positions` (N,) indices into the flattened B * T, and `uniform`
        (N,) numbers in [0, 1) that decide the fillings: the pass is a pure function of its arguments but for dropout.
        `call` goes to both models: `segment_ids`, `attention_mask`, `position_ids`, `mask`.
        """
        logits = self.generator(masked_ids, lm_positions=masked_positions, **call).heads["lm"]  # (N, V)
        sampled = sample_tokens(logits.detach(), uniform, temperature=temperature)  # (N,)
        filled = token_ids.flatten().scatter(0, masked_positions, sampled).view_as(token_ids)  # (B, T)
        judged = self.discriminator(filled, **call).heads["discriminator"]  # (B, T)
        return ReplacedTokenOutput(logits, judged, filled, filled != token_ids)

    def _tie(self, name: Table) -> None:
        ours, theirs = (getattr(model.embeddings, TABLES[name]) for model in (self.generator, self.discriminator))
        if ours is None or theirs is None:
            return
        if ours.weight.shape != theirs.weight.shape:
            shapes = " and ".join("x".join(str(size) for size in part.weight.shape) for part in (ours, theirs))
            raise UsageError(
                f"generator and discriminator cannot share the {name} table: {shapes}",
                hint="give both the same vocab_size, embedding_size, max_position_embeddings and type_vocab_size",
            )
        ours.weight = theirs.weight


def sample_tokens(logits: Tensor, uniform: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Token ids (N,) drawn from softmax(logits / temperature), logits (N, V), by numbers (N,) in [0, 1).

    By inverting the distribution function: one number a place decides, so a row keeps its fillings in whatever batch
    it comes. Temperature 0 takes the likeliest token.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    reached = (logits.float() / temperature).softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    found = torch.searchsorted(reached, uniform.double()[:, None], right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)  # rounding may leave the last sum just below the number


def generator_config(discriminator: ModelConfig, *, fraction: float = 0.25) -> ModelConfig:
    """A generator of about `fraction` of the discriminator's width, in whole heads of the same size.

    Tables keep their shape, so that they can be shared. The paper found 1/4 to 1/2 best; small ELECTRA has 1/4, base
    1/3. Raises `UsageError` for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"the generator's fraction of the discriminator must lie in (0, 1], not {fraction}")
    heads = discriminator.num_attention_heads
    num_heads = max(1, round(heads * fraction))
    return discriminator.with_choices(
        num_attention_heads=num_heads,
        hidden_size=discriminator.hidden_size * num_heads // heads,
        intermediate_size=max(1, discriminator.intermediate_size * num_heads // heads),
        heads=("lm",),
        pooler="none",
        mask="bidirectional",
    )
