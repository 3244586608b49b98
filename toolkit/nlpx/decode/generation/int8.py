"""Linear maps in 8-bit integers for decoding on a CPU: torch's own dynamic quantisation, and the vocabulary product.

Weights get one scale a row (output), inputs one a call. Norms, softmax and embeddings stay float32. A step of decoding
reads every weight once for a few rows, so a quarter of the bytes is most of a quarter of the time.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from nlpx.models.transformer import Transformer


class _Int8Head(nn.Module):
    """A language-model head whose vocabulary product has a copy of its own of the word table."""

    def __init__(self, head: Any, table: Tensor) -> None:
        super().__init__()
        self.head = head
        weight = table if head.decoder is None else head.decoder
        self.product = nn.Linear(weight.shape[1], weight.shape[0], bias=head.bias is not None)
        self.product.weight = nn.Parameter(weight.detach())
        if head.bias is not None:
            self.product.bias = nn.Parameter(head.bias.detach())

    def forward(self, hidden_states: Tensor, _table: Tensor, condition: Tensor | None, _targets: None = None) -> Tensor:
        """Logits (..., V) of states (..., D); a quantised model has no loss."""
        logits: Tensor = self.product(self.head.project(hidden_states, condition))
        return logits


def quantise(model: Transformer) -> Transformer:
    """The model with all linear maps in int8, for inference on a CPU; the one given is changed and must be let go."""
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    if model.lm_head is not None:
        model.lm_head = _Int8Head(model.lm_head, model.embeddings.word_embeddings.weight)  # type: ignore[assignment]
    with warnings.catch_warnings():  # torch announces another package for this; what is here is pinned and tested
        warnings.simplefilter("ignore")
        quantised: Transformer = quantize_dynamic(
            model.eval().float(), {nn.Linear: per_channel_dynamic_qconfig}, inplace=True
        )
    return quantised
