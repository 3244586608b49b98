"""p(token | the rest of its text) from a masked language model: the one call that sampling makes.

The last block and the vocabulary product are computed at the positions in question alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nlpx.models.transformer import Transformer

# (token ids (B, T), attention mask (B, T), places (B, Q)) -> logits (B, Q, V), float32, on the CPU. What stands at the
# places is [MASK] already.
Conditionals = Callable[[Tensor, Tensor, Tensor], Tensor]


def conditionals_of(model: Any, *, device: torch.device, precision: str = "float32") -> Conditionals:
    """The conditionals of a loaded masked language model, which is changed in place and must not be used otherwise.

    With `precision` bfloat16 the blocks compute in it; the vocabulary product stays float32, because three digits of a
    logit would show in the probabilities. Models loaded through transformers stay float32 altogether.
    """
    model = model.to(device).eval()
    if isinstance(model, Transformer):
        return _Split(model, precision=precision)
    return _Whole(model, device)


class _Split:
    """Encoder and head of a `Transformer`, each in the number format that fits."""

    def __init__(self, model: Transformer, *, precision: str) -> None:
        self.head, model.lm_head = model.lm_head, None
        self.table = model.embeddings.word_embeddings.weight.detach().float().clone()
        self.encoder = model.to(getattr(torch, precision))

    @torch.inference_mode()
    def __call__(self, token_ids: Tensor, attention_mask: Tensor, places: Tensor) -> Tensor:
        token_ids, attention_mask, places = (part.to(self.table.device) for part in (token_ids, attention_mask, places))
        states = self.encoder(
            token_ids, attention_mask=attention_mask, mask="bidirectional", query_positions=places
        ).last_hidden_state
        logits: Tensor = self.head(states.float(), self.table, None)  # type: ignore[misc]
        return logits.cpu()


class _Whole:
    """A model of transformers, which computes every position; the ones in question are picked out."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model, self.device = model, device

    @torch.inference_mode()
    def __call__(self, token_ids: Tensor, attention_mask: Tensor, places: Tensor) -> Tensor:
        logits = self.model(token_ids.to(self.device), attention_mask=attention_mask.to(self.device).long()).logits
        rows = torch.arange(places.shape[0], device=self.device)[:, None]
        picked: Tensor = logits[rows, places.to(self.device)]
        return picked.float().cpu()
