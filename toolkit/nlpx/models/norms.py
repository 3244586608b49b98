"""Layer norm and RMS norm, optionally modulated by a condition vector (conditional layer norm).

y = x_hat * (scale + W_s c) + (offset + W_o c), W_s and W_o start at zero, so a new condition changes nothing
(Su Jianlin, kexue.fm/archives/7124). RMS norm is the same without subtracting the mean and without an offset.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlpx.models.activations import activation
from nlpx.models.config import ModelConfig


class Norm(nn.Module):
    """Normalises the last dimension. `condition` (B, condition_size) modulates scale and offset of each row."""

    def __init__(self, size: int, config: ModelConfig) -> None:
        super().__init__()
        self.size = size
        self.kind = config.norm
        self.eps = config.norm_eps
        has_offset = config.norm_scale and config.norm == "layer"
        self.weight = nn.Parameter(torch.ones(size)) if config.norm_scale else None
        self.bias = nn.Parameter(torch.zeros(size)) if has_offset else None
        self.condition = ConditionMap(size, config) if config.condition_size else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.condition is None or condition is None:
            return self._normalise(x, self.weight, self.bias)
        normalised = self._normalise(x, self.weight, self.bias)
        # Zero maps must leave the output bit for bit as it was: add the modulation instead of folding it in.
        scale, offset = self.condition(condition)
        modulated = torch.addcmul(normalised, self._normalise(x, None, None), scale.unsqueeze(1))
        return modulated if self.bias is None else modulated + offset.unsqueeze(1)

    def _normalise(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if self.kind == "rms":
            return functional.rms_norm(x, (self.size,), weight, self.eps)
        return functional.layer_norm(x, (self.size,), weight, bias, self.eps)


class ConditionMap(nn.Module):
    """Condition vector (B, C) -> what it adds to scale and offset of a norm, two of (B, size).

    Both maps start at zero, so that the model starts as the unconditional one.
    """

    STARTS_AT_ZERO = ("scale.weight", "offset.weight")

    def __init__(self, size: int, config: ModelConfig) -> None:
        super().__init__()
        width = config.condition_hidden_size or config.condition_size
        self.hidden = (
            nn.Linear(config.condition_size, width, bias=False) if config.condition_hidden_size else nn.Identity()
        )
        self.act = activation(config.condition_hidden_act) if config.condition_hidden_size else nn.Identity()
        self.scale = nn.Linear(width, size, bias=False)
        self.offset = nn.Linear(width, size, bias=False)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.act(self.hidden(condition))
        return self.scale(hidden), self.offset(hidden)
