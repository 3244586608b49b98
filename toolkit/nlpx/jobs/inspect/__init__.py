"""`nlpx inspect`: what a checkpoint is; used, missing and unexpected tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError
from nlpx.first_bytes import PlaceholderError

if TYPE_CHECKING:
    from nlpx.models.checkpoints.load import Described
    from nlpx.models.load_report import LoadReport


def inspect(path_or_name: str, *, family: str | None = None) -> dict[str, Any]:
    """Facts about a checkpoint as JSON values: family, size, configuration, tensors, tokenizer, warnings.

    Everything stored is loaded once, so what is missing or of a wrong shape is known, not guessed.
    """
    from nlpx.embed.onnx_model import is_onnx
    from nlpx.models.checkpoints.checkpoint import open_checkpoint
    from nlpx.models.checkpoints.load import describe
    from nlpx.models.checkpoints.resolve import resolve

    path = resolve(path_or_name)
    if is_onnx(path):
        return _graph_facts(path)
    described = describe(path, family)
    if described is None:
        from nlpx.models.checkpoints.backbone import Backbone

        checkpoint = open_checkpoint(path)
        model_type = checkpoint.config.get("model_type")
        report = Backbone.load(path, head=None, choices={}).load_report
        names = checkpoint.names()
        tokenizer = _tokenizer(path, None)
        return {
            "path": str(path),
            "family": None,
            "reason": f"model_type {model_type} is none of nlpx's families; it loads through transformers",
            "layout": checkpoint.layout,
            "parameters": sum(_count(checkpoint.shape(name)) for name in names),
            "stored_tensors": len(names),
            "stored_dtypes": sorted({checkpoint.dtype(name) for name in names}),
            "config": checkpoint.config,
            "used": report.used,
            "missing": report.missing,
            "unexpected": report.unexpected,
            "ignored": [],
            "reshaped": {},
            "tokenizer": tokenizer,
            "warnings": [
                *report.alerts,
                *([_unexplained(report)] if report.unexplained else []),
                *tokenizer.pop("warnings"),
            ],
        }
    return _facts(path, described)


def _graph_facts(path: Path) -> dict[str, Any]:
    import torch

    from nlpx.embed.onnx_model import read_facts
    from nlpx.models.transformer import Transformer

    config, dtype, num_positions = read_facts(path)
    with torch.device("meta"):
        model = Transformer(config)
    tokenizer = _tokenizer(path, config.vocab_size)
    return {
        "path": str(path),
        "family": config.family,
        "reason": f"an ONNX graph in {dtype}, written by nlpx for embed, similar and evaluate sts",
        "layout": "onnx",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "stored_dtypes": [dtype],
        "max_length": num_positions,
        "config": config.model_dump(mode="json"),
        "tokenizer": tokenizer,
        "warnings": tokenizer.pop("warnings"),
    }


def _facts(path: Path, described: Described) -> dict[str, Any]:
    import torch

    from nlpx.models.checkpoints.load import build, fill
    from nlpx.models.checkpoints.names import ENCODER

    with torch.device("meta"):
        model = build(described.config)
    report = fill(model, described, allow_partial=("*",), check_only=True)
    tensors = asdict(report)
    rows = described.config.vocab_size
    tokenizer = _tokenizer(path, rows)
    names = described.checkpoint.names()
    return {
        "path": str(path),
        "family": described.config.family,
        "reason": described.reason,
        "layout": described.checkpoint.layout,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "encoder_parameters": sum(
            parameter.numel()
            for name, parameter in model.named_parameters()
            if name.removeprefix(ENCODER).startswith(("embeddings.", "layers.", "norm.", "bucketed."))
        ),
        "stored_tensors": len(names),
        "stored_dtypes": sorted({described.checkpoint.dtype(name) for name in names}),
        "config": described.config.model_dump(mode="json"),
        "used": tensors["used"],
        "missing": tensors["missing"],
        "unexpected": tensors["unexpected"],
        "ignored": tensors["ignored"],
        "reshaped": tensors["reshaped"],
        "tokenizer": tokenizer,
        "warnings": report.alerts + report.warnings + tokenizer.pop("warnings"),
    }


def _tokenizer(path: Path, rows: int | None) -> dict[str, Any]:
    from nlpx.tokenizers.load import load_tokenizer

    folder = path if path.is_dir() else path.parent
    try:
        tokenizer = load_tokenizer(folder)
    except PlaceholderError:  # there is a tokenizer, and it is not here
        raise
    except InputError as error:
        return {"kind": None, "reason": error.message, "warnings": ["no tokenizer here: pass the directory of its own"]}
    warnings = _vocabulary_warnings(folder, tokenizer.kind, tokenizer.vocab_size, rows)
    return {
        "kind": tokenizer.kind,
        "reason": tokenizer.reason,
        "vocab_size": tokenizer.vocab_size,
        "special_tokens": {
            name: getattr(tokenizer, f"{name}_token_id") for name in ("pad", "unk", "cls", "sep", "mask")
        },
        "warnings": warnings,
    }


def _vocabulary_warnings(folder: Path, kind: str, entries: int, rows: int | None) -> list[str]:
    from nlpx.models.checkpoints.checkpoint import read_config

    warnings = []
    if rows is not None and entries > rows:
        warnings.append(
            f"the vocabulary has {entries} entries but the word table {rows} rows: ids beyond it crash; "
            "use its own vocab.txt"
        )
    if rows is not None and entries < rows:
        warnings.append(f"the vocabulary has {entries} entries, the word table {rows} rows: the rest is never used")
    model_type = read_config(folder).get("model_type")
    if kind == "word" and model_type == "bert":
        warnings.append("a word-level vocabulary under model_type bert (WoBERT): transformers would split its words")
    return warnings


def _unexplained(report: LoadReport) -> str:
    from nlpx.models.checkpoints.load import shortened

    return f"no part of the model that the configuration describes: {shortened(report.unexplained)}"


def _count(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
