"""The weights of any module under its own names, for a run to resume from; nothing is renamed or recognised."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from nlpx.errors import InputError, reason_of

WEIGHT_FILE = "model.safetensors"


def save_weights(model: nn.Module, directory: Path) -> None:
    """The weights of any module as `model.safetensors`, tied ones once."""
    safetensors.torch.save_model(model, str(directory / WEIGHT_FILE))


def load_weights(model: nn.Module, directory: Path) -> None:
    """What `save_weights` wrote, into a module of the same shape; anything else is an `InputError`."""
    path = directory / WEIGHT_FILE
    try:
        safetensors.torch.load_model(model, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{path}: not the weights of this model ({reason_of(error)})") from error
