"""Activations by the names that published configurations use."""

from __future__ import annotations

from torch import nn


def activation(name: str) -> nn.Module:
    """The module of that name. `gelu` is the exact form, `gelu_new` the tanh approximation of GPT-2 and ALBERT."""
    return {
        "gelu": nn.GELU(),
        "gelu_new": nn.GELU(approximate="tanh"),
        "relu": nn.ReLU(),
        "silu": nn.SiLU(),
        "tanh": nn.Tanh(),
        "linear": nn.Identity(),
    }[name]
