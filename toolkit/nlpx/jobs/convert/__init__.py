"""`nlpx convert`: any checkpoint nlpx reads becomes a directory that plain transformers, or nlpx, loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from nlpx.errors import InputError, UsageError

if TYPE_CHECKING:
    from nlpx.embed.onnx_export import GraphType
    from nlpx.models.checkpoints.save import StoredType
    from nlpx.models.transformer import Transformer

Format = Literal["hf", "nlpx", "onnx", "ctranslate2"]

WEIGHT_TYPES = ("float32", "bfloat16", "float16")
DTYPES = {
    "hf": WEIGHT_TYPES,
    "nlpx": WEIGHT_TYPES,
    "onnx": ("float32", "int8"),
    "ctranslate2": ("float32", "bfloat16", "float16", "int8"),
}


def convert(
    source: str,
    target: Path,
    *,
    to: Format,
    family: str | None = None,
    overwrite: bool = False,
    allow_partial: tuple[str, ...] = (),
    choices: Mapping[str, Any] | None = None,
    dtype: StoredType | GraphType = "float32",
) -> dict[str, Any]:
    """Write `target` with every head the source holds, none in an ONNX graph; returns what was written.

    Raises `InputError` naming the feature that transformers, ONNX or CTranslate2 has no counterpart for, `UsageError`
    if `target` exists or the form has no such `dtype`, `MachineError` without an extra where it is needed.
    """
    from nlpx.io import replace_directory
    from nlpx.models.checkpoints.head_evidence import refusal
    from nlpx.models.checkpoints.hub import locate
    from nlpx.models.checkpoints.load import describe, load_model
    from nlpx.models.checkpoints.modules import copy_modules, encoder_folder
    from nlpx.models.checkpoints.vocabulary_rows import STORED

    if dtype not in DTYPES[to]:
        raise UsageError(f"--to {to} stores no {dtype}", hint=f"it stores {', '.join(DTYPES[to])}")
    _check_target(target, overwrite=overwrite)
    root = locate(source)
    path = encoder_folder(root)
    described = describe(path, family)
    if described is None:
        raise InputError(f"{path}: none of nlpx's families", hint="transformers reads it as it is")
    stored = described.config
    kept: dict[str, Any] = {name: getattr(stored, name) for name in STORED}
    if to == "onnx":
        kept["heads"] = ()
    elif described.foreign_head is not None and "heads" not in (choices or {}):
        raise refusal(described.checkpoint, described.foreign_head)
    model = load_model(
        path, family, allow_partial=allow_partial, allow_unexplained=True, **(kept | dict(choices or {}))
    )
    with replace_directory(target) as temporary:
        if to == "ctranslate2":
            tokenizer: str | None = _write_for_ctranslate2(model, path, temporary, dtype)
        else:
            _write(model, temporary, to=to, dtype=dtype)
            tokenizer = _copy_tokenizer(path, temporary)
        _copy_whitening(root, temporary)
        copy_modules(root, temporary)
    return {
        "path": str(target),
        "format": to,
        "family": model.config.family,
        "heads": list(model.config.heads),
        "unexpected": model.load_report.unexpected,
        "tokenizer": tokenizer,
    }


def _write(model: Transformer, directory: Path, *, to: Format, dtype: str) -> None:
    if to == "onnx":
        from nlpx.embed.onnx_export import export_onnx

        export_onnx(model, directory, dtype=cast("GraphType", dtype))
        return
    from nlpx.models.checkpoints.save import export_model, save_model

    (export_model if to == "hf" else save_model)(model, directory, dtype=cast("StoredType", dtype))


def _write_for_ctranslate2(model: Any, source: Path, directory: Path, dtype: str) -> str:
    from nlpx.decode.generation.ctranslate2.export import Weights, export
    from nlpx.tokenizers.load import load_tokenizer

    tokenizer = load_tokenizer(source if source.is_dir() else source.parent)
    tokenizer.require_rows(model.config.vocab_size, name=source)
    export(model, tokenizer.vocab.tokens, directory, weights=cast("Weights", dtype))
    tokenizer.save(directory)
    return tokenizer.kind


def _check_target(target: Path, *, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise UsageError(f"{target}: already exists", hint="choose another directory, or --overwrite to replace it")
    if not (target / "config.json").is_file():  # a typing error must not delete a home directory
        hint = "choose another directory, or remove it yourself"
        raise UsageError(f"{target}: not a checkpoint directory, so --overwrite does not touch it", hint=hint)


def _copy_tokenizer(source: Path, target: Path) -> str | None:
    from nlpx.tokenizers.load import load_tokenizer

    folder = source if source.is_dir() else source.parent
    named = any((folder / name).exists() for name in ("vocab.txt", "tokenizer.json", "nlpx_tokenizer.json"))
    if not named and not any(folder.glob("*.model")):
        return None
    tokenizer = load_tokenizer(folder)
    tokenizer.save(target)
    return tokenizer.kind


def _copy_whitening(source: Path, target: Path) -> None:
    """What `nlpx whiten --fold` added to the model is part of its vectors."""
    from nlpx.embed.folded import NAME, folded
    from nlpx.embed.whitening import save

    whitening = folded(source)
    if whitening is not None:
        save(whitening, target / NAME)
