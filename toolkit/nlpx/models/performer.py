"""Performer attention: softmax weights replaced by products of positive random features (FAVOR+, arXiv 2009.14794).

exp(q.k) = E[exp(w.q - |q|^2/2) exp(w.k - |k|^2/2)] over normal w. With m draws of w the sum over all keys becomes two
thin products, so time and memory grow with the length and not with its square. Queries and keys arrive scaled by the
root of what scores are scaled by. Everything here is computed in float32: the exponentials leave float16 at once.

What softmax attention has and this has not: dropout on the weights, and masks other than bidirectional and causal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nlpx.models.config import ModelConfig

CHUNK = 64  # tokens of one causal block: inside it weights are computed, between blocks sums are carried


class RandomFeatures(nn.Module):
    """The projection (m, key_size) of one layer, drawn anew every `performer_redraw_steps` calls in training.

    Both the projection and the number of calls are part of the model's state, and each draw is a function of (layer,
    number of draws), so that a resumed run continues bit for bit.
    """

    projection: Tensor

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_features = config.performer_features or default_features(config.key_size)
        self.redraw_every = config.performer_redraw_steps
        # A CPU tensor outside the buffers: neither asks an accelerator to wait nor makes a compiler guard a number.
        self.num_calls = torch.zeros((), dtype=torch.int64, device="cpu")
        self.register_buffer("projection", self._draw(0, config.key_size))

    def count_call(self) -> None:
        """Count a forward pass in training; every `redraw_every` calls the projection is drawn anew."""
        self.num_calls += 1
        if self.redraw_every and int(self.num_calls) % self.redraw_every == 0:
            # A new tensor, never a refilled one: a graph that still waits for its backward keeps what it read.
            drawn = self._draw(int(self.num_calls) // self.redraw_every, self.projection.shape[1])
            self.projection = drawn.to(self.projection)

    def get_extra_state(self) -> Tensor:
        """The number of calls (0-d int64), saved with the weights."""
        return self.num_calls.clone()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore a saved number of calls."""
        self.num_calls = torch.as_tensor(int(state), dtype=torch.int64, device="cpu")

    def _draw(self, number: int, size: int) -> Tensor:
        # A prime stride keeps the draws of the layers apart for any number of draws that a run reaches.
        generator = torch.Generator().manual_seed((self.layer + 1) * 1_000_003 + number)
        return draw_projection(self.num_features, size, generator=generator)


def default_features(key_size: int) -> int:
    """d ln d: with so many features the error no longer depends on the width d (arXiv 2009.14794, theorem 4)."""
    return max(1, int(key_size * math.log(key_size)))


def draw_projection(num_features: int, size: int, *, generator: torch.Generator, orthogonal: bool = True) -> Tensor:
    """Rows w (num_features, size), each normally distributed, on the CPU in float32.

    `orthogonal`: directions orthogonal inside blocks of `size` rows, norms from the chi distribution. The sign
    correction makes the directions uniform; a bare QR is not, and its error stops falling with more features.
    """
    normal = torch.randn(num_features, size, generator=generator, device="cpu", dtype=torch.float64)
    if not orthogonal:
        return normal.float()
    blocks = [_directions(size, generator) for _ in range(-(-num_features // size))]
    norms = normal.norm(dim=1, keepdim=True)
    scaled: Tensor = torch.cat(blocks)[:num_features] * norms
    return scaled.float()


def _directions(size: int, generator: torch.Generator) -> Tensor:
    square = torch.randn(size, size, generator=generator, device="cpu", dtype=torch.float64)
    orthogonal, triangle = torch.linalg.qr(square)
    signed: Tensor = orthogonal * triangle.diagonal().sign()
    return signed.T


def positive_features(vectors: Tensor, projection: Tensor) -> Tensor:
    """phi(u) = exp(W u - |u|^2 / 2) / sqrt(m): vectors (..., d), W (m, d) -> (..., m), all above 0.

    phi(q).phi(k) estimates exp(q.k) without bias, with relative variance (exp(|q + k|^2) - 1) / m for independent W.
    """
    exponents = vectors @ projection.T - vectors.square().sum(dim=-1, keepdim=True) / 2
    return exponents.exp() / math.sqrt(projection.shape[0])


def performer_attention(
    query: Tensor, key: Tensor, value: Tensor, projection: Tensor, *, causal: bool, keys: Tensor | None = None
) -> Tensor:
    """Mixed values (B, H, T, D) of scaled queries and keys (B, H, T, d) and values (B, H, T, D).

    `keys` (B, T) is true for real keys; the others have no weight at all. A row without any visible key becomes zero.
    Returns the type of `value`.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, key, projection = query.float(), key.float(), projection.float()
        query_features = _query_features(query, projection)  # (B, H, T, M)
        key_features = _key_features(key, projection, keys)  # (B, H, T, M)
        # One more column of ones: its mix is the denominator.
        extended = torch.cat([value.float(), torch.ones_like(value[..., :1], dtype=torch.float32)], dim=-1)
        contract = _causal if causal else _full
        mixed = contract(query_features, key_features, extended)  # (B, H, T, D + 1)
        weight = mixed[..., -1:].clamp(min=torch.finfo(torch.float32).tiny)
        return (mixed[..., :-1] / weight).to(value.dtype)


def _query_features(query: Tensor, projection: Tensor) -> Tensor:
    # A factor on all features of a query cancels in its ratio: exp(-|q|^2 / 2) need not be computed, and subtracting
    # the largest exponent keeps exp() in range.
    exponents = query @ projection.T  # (B, H, T, M)
    return (exponents - exponents.detach().amax(dim=-1, keepdim=True)).exp()


def _key_features(key: Tensor, projection: Tensor, keys: Tensor | None) -> Tensor:
    # Here only a factor on all keys of a head cancels, so the largest exponent is one number a head, of real keys only.
    exponents = key @ projection.T - key.square().sum(dim=-1, keepdim=True) / 2
    if keys is not None:
        exponents = exponents.masked_fill(~keys[:, None, :, None], -torch.inf)
    largest = exponents.detach().amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float32).min)
    return (exponents - largest).exp()


def _full(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return query @ (key.transpose(-2, -1) @ value)


def _causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Row i mixes keys up to i: sums over whole blocks before its own, weights inside its own.

    The sums are kept once a block, (B, H, T / CHUNK, m, D), so memory is linear in T.
    """
    length = query.shape[-2]
    query, key, value = (_in_chunks(part) for part in (query, key, value))
    sums = key.transpose(-2, -1) @ value  # (B, H, blocks, M, D)
    before = nn.functional.pad(sums.cumsum(dim=-3)[..., :-1, :, :], (0, 0, 0, 0, 1, 0))  # of the blocks before each
    inside = (query @ key.transpose(-2, -1)).tril()  # (B, H, blocks, CHUNK, CHUNK)
    return (query @ before + inside @ value).flatten(-3, -2)[..., :length, :]


def _in_chunks(part: Tensor) -> Tensor:
    length = part.shape[-2]
    padded = nn.functional.pad(part, (0, 0, 0, -length % CHUNK))
    chunks: Tensor = padded.unflatten(-2, (-1, CHUNK))
    return chunks


def approximation_error(
    query: Tensor, key: Tensor, num_features: int, *, generator: torch.Generator, orthogonal: bool = True
) -> float:
    """Relative Frobenius error of the attention weights (T, T) of scaled queries and keys (T, d) against softmax."""
    projection = draw_projection(num_features, query.shape[-1], generator=generator, orthogonal=orthogonal)
    exact = (query @ key.T).softmax(dim=-1)
    everything = torch.eye(key.shape[0])
    estimated = performer_attention(
        query[None, None], key[None, None], everything[None, None], projection, causal=False
    )[0, 0]
    return float((estimated - exact).norm() / exact.norm())
