"""From logits to tokens: banned ids, temperature, top-k and top-p, and the draw itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Draw:
    """How a token is drawn from the logits of its place.

    `banned` (V,) is true for ids that are never drawn. Of the rest, `top_k` keeps the k most probable, and `top_p` the
    fewest that together have that probability (arXiv 1904.09751), both at the temperature in force.
    """

    banned: Tensor | None = None
    top_k: int | None = None
    top_p: float | None = None

    def __call__(self, logits: Tensor, uniforms: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Ids (...) from logits (..., V) and numbers in [0, 1) (...): by inversion, or at temperature 0 the mode.

        A row depends on nothing but itself, so it does not matter which others are drawn beside it.
        """
        allowed = self.allowed(logits)
        if temperature == 0:
            return allowed.argmax(dim=-1)
        cumulative = self.probabilities(allowed, temperature=temperature).cumsum(dim=-1, dtype=torch.float64)
        total = cumulative[..., -1:].contiguous()
        # Below the total in every rounding: what lies beyond it are ids of probability 0.
        threshold = torch.minimum(uniforms.double()[..., None] * total, torch.nextafter(total, torch.zeros(())))
        return torch.searchsorted(cumulative, threshold, right=True)[..., 0]

    def allowed(self, logits: Tensor) -> Tensor:
        """The logits in float32, minus infinity where the token is banned."""
        logits = logits.float()
        return logits if self.banned is None else logits.masked_fill(self.banned, -torch.inf)

    def probabilities(self, logits: Tensor, *, temperature: float = 1.0) -> Tensor:
        """The probabilities of the draw, (..., V), from logits of `allowed`."""
        scaled = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
        if self.top_k is not None and self.top_k < scaled.shape[-1]:
            smallest = scaled.topk(self.top_k, dim=-1).values[..., -1:]
            scaled = scaled.masked_fill(scaled < smallest, -torch.inf)
        probabilities = scaled.softmax(dim=-1)
        return probabilities if self.top_p is None else _nucleus(probabilities, self.top_p)


def _nucleus(probabilities: Tensor, share: float) -> Tensor:
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.double().cumsum(dim=-1) - ordered  # of the more probable ones; the first always stays
    kept = torch.zeros_like(probabilities, dtype=torch.bool).scatter(-1, order, before < share)
    chosen = probabilities * kept
    return chosen / chosen.sum(dim=-1, keepdim=True)
