"""Writing checkpoints: our own form, which keeps everything, and the form plain transformers reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from nlpx import __version__
from nlpx.errors import InputError
from nlpx.io import write_atomically, write_json
from nlpx.models.checkpoints.checkpoint import SAFETENSORS, Checkpoint
from nlpx.models.checkpoints.family import get_family, no_counterpart
from nlpx.models.checkpoints.names import FUSED, PARTS, Names, written_name
from nlpx.models.config import ModelConfig
from nlpx.models.encoder_decoder import EncoderDecoder
from nlpx.models.transformer import Transformer

OWN_MODEL_TYPE = "nlpx"
StoredType = Literal["float32", "bfloat16", "float16"]  # half the bytes; a model is computed in float32 once loaded


def read_own(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The values for `ModelConfig` if the checkpoint is in our own form."""
    config = checkpoint.config
    if config.get("model_type") != OWN_MODEL_TYPE:
        return None
    inner = config.get("config", {})
    if not isinstance(inner, dict):
        raise InputError(f"{checkpoint.path}: `config` of its configuration is no table of keys")
    return dict(inner)


def own_config(config: ModelConfig) -> dict[str, Any]:
    """`config.json` of our own form."""
    return {
        "model_type": OWN_MODEL_TYPE,
        "nlpx_version": __version__,
        "config": config.model_dump(mode="json"),
    }


def save_model(model: Transformer | EncoderDecoder, directory: Path, *, dtype: StoredType = "float32") -> None:
    """Write `config.json` and `model.safetensors` in our own form. Each file is whole or absent."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory, own_config(model.config), dict(model.state_dict()), dtype)


def export_model(model: Transformer | EncoderDecoder, directory: Path, *, dtype: StoredType = "float32") -> None:
    """Write the form plain transformers reads. Raises `InputError` naming a feature it has no counterpart for."""
    family = get_family(model.config.family)
    config = {"model_type": family.MODEL_TYPE} | family.write_config(model.config)
    config |= {f"{name}_token_id": index for name, index in model.config.special_token_ids.items()}
    written_names = getattr(family, "written_names", None)  # where names differ between versions of a family
    table: Mapping[str, Names] = family.NAMES if written_names is None else written_names(model.config)
    tensors: dict[str, Tensor] = {}
    for ours, tensor in model.state_dict().items():
        for wanted, piece in unfused(ours, tensor, model.config, table):
            written = written_name(table, wanted)
            if written is None:
                raise no_counterpart(f"`{ours}` of family {model.config.family}")
            name, transposed = written
            tensors[name] = piece.T.contiguous() if transposed else piece.contiguous()
            copies = table[wanted].copies if wanted in table else ()
            tensors |= {copy: tensors[name].clone() for copy in copies}
    recomputed = getattr(family, "recomputed_tensors", None)
    if recomputed is not None:
        tensors |= recomputed(model.config)
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory, config | {"dtype": dtype}, tensors, dtype)


@contextmanager
def usual_rights(file: Path) -> Iterator[None]:
    """Give `file` the rights of any new file: safetensors would leave it to its owner alone."""
    file.touch()
    mode = file.stat().st_mode
    yield
    file.chmod(mode)


def unfused(name: str, tensor: Tensor, config: ModelConfig, table: Mapping[str, Names]) -> list[tuple[str, Tensor]]:
    """A parameter as the family stores it: query, key and value apart unless the family fuses them too."""
    if FUSED not in name or written_name(table, name) is not None:
        return [(name, tensor)]
    heads = config.num_attention_heads
    sizes = [heads * config.key_size, heads * config.key_size, heads * config.head_size]
    return [(name.replace(FUSED, part), piece) for part, piece in zip(PARTS, tensor.split(sizes), strict=True)]


def _write(directory: Path, config: dict[str, Any], tensors: dict[str, Tensor], dtype: StoredType) -> None:
    stored = getattr(torch, dtype)
    with write_atomically(directory / SAFETENSORS) as temporary, usual_rights(temporary):
        save_file(
            {
                name: (tensor.to(stored) if tensor.is_floating_point() else tensor).contiguous()
                for name, tensor in tensors.items()
            },
            temporary,
            metadata={"format": "pt"},
        )
    write_json(directory / "config.json", config)
