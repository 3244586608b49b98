"""`nlpx convert`: any checkpoint nlpx reads becomes a directory that plain transformers, or nlpx, loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nlpx.errors import InputError, UsageError

if TYPE_CHECKING:
    from nlpx.models.save import StoredType


def convert(
    source: str,
    target: Path,
    *,
    to: Literal["hf", "nlpx"],
    family: str | None = None,
    overwrite: bool = False,
    allow_partial: tuple[str, ...] = (),
    choices: Mapping[str, Any] | None = None,
    dtype: StoredType = "float32",
) -> dict[str, Any]:
    """Write `target` with every head the source holds; returns what was written.

    Raises `InputError` naming the feature that transformers has no counterpart for, `UsageError` if `target` exists.
    """
    from nlpx.io import replace_directory
    from nlpx.models.hub import resolve
    from nlpx.models.load import describe, load_model
    from nlpx.models.save import export_model, save_model

    _check_target(target, overwrite=overwrite)
    path = resolve(source)
    described = describe(path, family)
    if described is None:
        raise InputError(f"{path}: none of nlpx's families", hint="transformers reads it as it is")
    stored = described.config
    kept: dict[str, Any] = {
        name: getattr(stored, name) for name in ("heads", "pooler", "classification_pooling", "mask")
    }
    model = load_model(path, family, allow_partial=allow_partial, **(kept | dict(choices or {})))
    with replace_directory(target) as temporary:
        (export_model if to == "hf" else save_model)(model, temporary, dtype=dtype)
        tokenizer = _copy_tokenizer(path, temporary)
    return {
        "path": str(target),
        "format": to,
        "family": model.config.family,
        "heads": list(model.config.heads),
        "left_over": model.load_report.left_over,
        "tokenizer": tokenizer,
    }


def _check_target(target: Path, *, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise UsageError(f"{target}: already exists", hint="choose another directory, or --overwrite to replace it")
    if not (target / "config.json").is_file():  # a slip of the hand must not cost a home directory
        hint = "choose another directory, or remove it yourself"
        raise UsageError(f"{target}: not a checkpoint directory, so --overwrite does not touch it", hint=hint)


def _copy_tokenizer(source: Path, target: Path) -> str | None:
    from nlpx.tokenizers.load import load_tokenizer

    folder = source if source.is_dir() else source.parent
    if not any((folder / name).exists() for name in ("vocab.txt", "tokenizer.json", "nlpx_tokenizer.json")):
        return None
    tokenizer = load_tokenizer(folder)
    tokenizer.save(target)
    return tokenizer.kind
