"""A model made ready to decode and for nothing else: its number format, and the order of its weights in memory.

- float32: on a CPU the weights of linear maps are laid out by columns, which products with few rows read faster.
- bfloat16: half the bytes.
- int8: torch's own dynamic quantisation, one scale a row of a weight and one a call of an input, on a CPU. A step reads
  every weight once for a few rows, so a quarter of the bytes is most of a quarter of the time. Norms, softmax and
  embeddings stay float32.

The vocabulary product gets a copy of the word table, which the look-up of tokens reads by rows.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nlpx.models.transformer import Transformer

Format = Literal["float32", "bfloat16", "int8"]


class _OwnProduct(nn.Module):
    """A language-model head whose vocabulary product is a linear map of its own."""

    def __init__(self, head: Any, table: Tensor) -> None:
        super().__init__()
        self.head = head
        weight = table if head.decoder is None else head.decoder
        with torch.device("meta"):
            self.product = nn.Linear(weight.shape[1], weight.shape[0], bias=head.bias is not None)
        self.product.weight = nn.Parameter(weight.detach().clone())
        if head.bias is not None:
            self.product.bias = nn.Parameter(head.bias.detach())

    def forward(self, hidden_states: Tensor, _table: Tensor, condition: Tensor | None, _targets: None = None) -> Tensor:
        """Logits (..., V) of states (..., D); there is no loss."""
        logits: Tensor = self.product(self.head.project(hidden_states, condition))
        return logits


def ready_to_decode(model: Transformer, number_format: Format) -> Transformer:
    """The model in this format, for inference alone; the one given is changed and must be let go.

    int8 computes on a CPU only.
    """
    model = model.eval()
    if model.lm_head is not None:
        model.lm_head = _OwnProduct(model.lm_head, model.embeddings.word_embeddings.weight)  # type: ignore[assignment]
    if number_format == "int8":
        return _quantised(model.float())
    model = model.to(getattr(torch, number_format))
    if number_format == "float32" and model.embeddings.word_embeddings.weight.device.type == "cpu":
        _by_columns(model)
    return model


def _by_columns(model: Transformer) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight.detach().t().contiguous().t(), requires_grad=False)


def _quantised(model: Transformer) -> Transformer:
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    with warnings.catch_warnings():  # torch announces another package for this; what is here is pinned and tested
        warnings.simplefilter("ignore")
        quantised: Transformer = quantize_dynamic(model, {nn.Linear: per_channel_dynamic_qconfig}, inplace=True)
    return quantised
