"""A checkpoint with a whitening as its last linear layer: one more file beside the weights, applied after pooling."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nlpx.embed.whitening import Whitening, load, save
from nlpx.errors import InputError, UsageError
from nlpx.io import replace_directory

NAME = "whitening.safetensors"
_OVERSIZED = ("*.h5", "*.msgpack", "*.onnx", "*.ot", "onnx", "openvino", ".git", ".cache")  # other forms of the weights


def fold(model: str | Path, whitening: Whitening, *, pooling: str, out: Path) -> Path:
    """Copy a checkpoint to the directory `out` and add the whitening of its vectors of this pooling.

    Raises InputError for a model whose vectors have another dimension and for one that has a whitening already,
    UsageError if `out` holds anything.
    """
    from nlpx.models.checkpoints.hub import locate

    source = locate(model)
    if not source.is_dir():
        raise InputError(f"{source}: a file", hint="name the directory of a checkpoint")
    if (source / NAME).exists():
        raise InputError(f"{source}: has a whitening already", hint="fold into the model from which it was made")
    width = _width(source)
    if width != whitening.columns:
        raise InputError(f"{source}: its vectors have {width} numbers; the map takes {whitening.columns}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already", hint="name a new directory with --out")
    with replace_directory(out) as temporary:
        shutil.copytree(source, temporary, ignore=shutil.ignore_patterns(*_OVERSIZED), dirs_exist_ok=True)
        save(replace(whitening, pooling=pooling), temporary / NAME)
    return out


def folded(directory: Path, poolings: Sequence[str] = ()) -> Whitening | None:
    """The whitening of a checkpoint directory, or None.

    Raises UsageError if one of `poolings` is not the one it was fitted on.
    """
    path = directory / NAME
    if not path.is_file():
        return None
    whitening = load(path)
    for pooling in poolings:
        if pooling != whitening.pooling:
            raise UsageError(
                f"{directory}: its whitening is for the pooling {whitening.pooling}, not {pooling}",
                hint=f"--pooling {whitening.pooling}, or the model without the whitening",
            )
    return whitening


def _width(directory: Path) -> int:
    """How many numbers the vectors of a model have: its hidden size, or what its last Dense makes of it."""
    from nlpx.embed import sentence_transformers
    from nlpx.models.checkpoints.checkpoint import read_config
    from nlpx.models.checkpoints.load import describe
    from nlpx.sentence_modules import encoder_folder

    published = sentence_transformers.read(directory)
    steps = () if published is None else published.steps
    widths = [len(step.weight) for step in steps if isinstance(step, sentence_transformers.Dense)]
    if widths:
        return widths[-1]
    source = encoder_folder(directory)
    described = describe(source)
    if described is not None:
        return described.config.hidden_size
    config = read_config(source)
    for name in ("hidden_size", "d_model", "n_embd"):
        if name in config:
            return int(config[name])
    raise InputError(f"{source}: its configuration does not name the width of its vectors")
