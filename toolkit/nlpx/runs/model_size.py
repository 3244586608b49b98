"""How large the model is that a run starts from, read from its configuration alone: it decides the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from nlpx import bundled
from nlpx.configuration import registry

# Weights of all blocks below which a model learns at the rates of the small ones that ship: 6 layers x 384 are 10.6
# million, a published base model 85 million.
SMALL = 11_000_000


class ModelSize(NamedTuple):
    """Layers and their width."""

    num_layers: int
    hidden_size: int

    @property
    def is_small(self) -> bool:
        """Whether it is nearer to the models that ship than to published ones: 12 D^2 weights a layer."""
        return 12 * self.num_layers * self.hidden_size**2 < SMALL


def size_of(model: str) -> ModelSize | None:
    """The size of a local checkpoint, a run, or a model that ships; None for what is not here or does not say."""
    config = _config_of(model)
    if config is None:
        return None
    inner = config.get("config", config)  # our own form holds the whole `ModelConfig` there
    layers = inner.get("num_layers", inner.get("num_hidden_layers"))
    width = inner.get("hidden_size")
    return ModelSize(layers, width) if isinstance(layers, int) and isinstance(width, int) else None


def is_foreign(model: str) -> bool:
    """Whether the configuration names a model that only transformers knows; not where there is none to read."""
    kind = (_config_of(model) or {}).get("model_type")
    return kind is not None and kind not in {"nlpx", *registry.names("models/families")}


def _config_of(model: str) -> dict[str, Any] | None:
    folder = Path(bundled.path(model)) if model in bundled.models() and not Path(model).exists() else Path(model)
    files = (folder / "config.json", folder / "checkpoints" / "best" / "config.json", folder / "bert_config.json")
    return next((config for config in map(_read, files) if config is not None), None)


def _read(file: Path) -> dict[str, Any] | None:
    # What is wrong with a configuration is said where the checkpoint is loaded.
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) and isinstance(config.get("config", {}), dict) else None
