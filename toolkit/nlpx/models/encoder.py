"""What every model is to tasks, objectives and tricks: one call, its output by names, and the word table.

`Transformer`, the pair of replaced-token detection and any encoder of transformers (`Backbone`) are `Encoder`s. Code
outside `models/` relies on nothing else, so that a trick written for one of them works on all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from nlpx.device import bound_kernel_caches
from nlpx.errors import UsageError

if TYPE_CHECKING:
    from nlpx.models.load_report import LoadReport

# Of several heads the first one here is what `ModelOutput.logits` means.
PRIMARY_HEADS = ("classification", "pair", "discriminator", "lm")


@dataclass(slots=True)
class ModelOutput:
    """What one call returns. B texts of T tokens, D the width of a state, V the vocabulary."""

    last_hidden_state: Tensor  # (B, T, D)
    hidden_states: tuple[Tensor, ...] | None = None  # one (B, T, D) per block, on request
    pooled: Tensor | None = None  # (B, D), where the model has a pooler
    # By head: lm (B, T, V) or (N, V), sentence (B, 2), discriminator (B, T), classification
    # (B, num_labels), pair (B, num_labels) for 2B texts.
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    lm_loss: Tensor | None = None  # 0-d, float32: in place of the logits of `lm` where `lm_targets` were given

    @property
    def logits(self) -> Tensor | None:
        """The output of the only head, or of the first of `PRIMARY_HEADS`; None without one."""
        return next((self.heads[name] for name in PRIMARY_HEADS if name in self.heads), None)


class Encoder(nn.Module):
    """The call and the few methods that whatever trains or asks a model may use.

    `config` has at least `hidden_size` and `vocab_size`.
    """

    config: Any
    load_report: LoadReport | None = None

    def __init__(self) -> None:
        super().__init__()
        bound_kernel_caches()

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
    ) -> ModelOutput:
        """Run the model on `token_ids` (B, T), or on `inputs_embeds` (B, T, E) in place of their word vectors.

        `segment_ids`, `attention_mask` (1 = real token) and `position_ids` are (B, T); `heads` names those to compute,
        by default all of the model; `lm_positions` (N,) restricts the vocabulary product to places in the flattened
        B * T. Raises `UsageError` for what the model has no part for.
        """
        raise NotImplementedError

    def get_input_embeddings(self) -> nn.Embedding:
        """The word table; its output (B, T, E) is what perturbations of the input are added to."""
        raise NotImplementedError

    def head_modules(self) -> dict[str, nn.Module]:
        """The modules that make `ModelOutput.heads`, by head."""
        return {}

    def save(self, directory: Path) -> None:
        """Write configuration and weights; `load_model` reads them."""
        raise NotImplementedError

    def load_weights(self, directory: Path) -> None:
        """Take back the weights that `save` wrote. Raises `InputError` for those of another model."""
        from nlpx.models.checkpoints.plain import load_weights

        load_weights(self, directory)


def one_input(token_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
    """The one that was given: ids (B, T) or vectors (B, T, E). Raises `UsageError` for both and for neither."""
    given = [tensor for tensor in (token_ids, inputs_embeds) if tensor is not None]
    if len(given) != 1:
        raise UsageError("a model takes either `token_ids` or `inputs_embeds`")
    return given[0]
