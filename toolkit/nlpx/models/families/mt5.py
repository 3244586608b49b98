"""mT5: the multilingual T5.1.1, which never divides the states before the vocabulary product, tied or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.family import by_model_type, refuse_unless
from nlpx.models.checkpoints.names import NameMap
from nlpx.models.config import ModelConfig
from nlpx.models.families import t5

MODEL_TYPE = "mt5"
PREFIX = t5.PREFIX
NAMES = t5.NAMES
written_names = t5.written_names


def recognise(checkpoint: Checkpoint) -> str | None:
    """By `model_type` alone: its names are T5's."""
    return by_model_type(checkpoint, MODEL_TYPE)


def read_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """As T5.1.1's."""
    return t5.read_sizes(raw, tensors) | {"lm_scale": "none"}


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Refuses states that are divided, for which transformers' mT5 has no key."""
    refuse_unless(config, lm_scale=("none",))
    return t5.write_sizes(config, "MT5") | {"tie_word_embeddings": config.tie_word_embeddings}
