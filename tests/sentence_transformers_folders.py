"""Directories as sentence-transformers writes them, around any checkpoint, for tests only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

_PACKAGE = "sentence_transformers.models."


def around(
    encoder: Path,
    *,
    pooling: dict[str, Any],
    dense: tuple[torch.Tensor, torch.Tensor | None, str] | None = None,
    normalize: bool = False,
    subfolder: bool = False,
    length: int | None = None,
    lower_case: bool = False,
    prompts: dict[str, Any] | None = None,
    others: tuple[str, ...] = (),
) -> Path:
    """Add the files of sentence-transformers to the directory of a checkpoint."""
    place = ""
    if subfolder:
        place, inner = "0_Transformer", encoder / "0_Transformer"
        inner.mkdir()
        for file in [path for path in encoder.iterdir() if path.is_file()]:
            shutil.move(file, inner / file.name)
    modules = [("Transformer", place), ("Pooling", "1_Pooling")]
    write(encoder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16} | pooling)
    if dense is not None:
        weight, bias, activation = dense
        modules.append(("Dense", "2_Dense"))
        config = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias is not None}
        write(encoder / "2_Dense" / "config.json", config | {"activation_function": activation})
        tensors = {"linear.weight": weight} | ({} if bias is None else {"linear.bias": bias})
        save_file(tensors, encoder / "2_Dense" / "model.safetensors")
    if normalize:
        modules.append(("Normalize", f"{len(modules)}_Normalize"))
    modules += [(name, f"{len(modules)}_{name}") for name in others]
    listed = [
        {"idx": number, "name": str(number), "path": path, "type": kind if "." in kind else _PACKAGE + kind}
        for number, (kind, path) in enumerate(modules)
    ]
    write(encoder / "modules.json", listed)
    write(encoder / place / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": lower_case})
    if prompts is not None:
        write(encoder / "config_sentence_transformers.json", prompts)
    return encoder


def write(path: Path, content: Any) -> None:
    """JSON, with the folder."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
