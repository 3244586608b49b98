"""From a name to the local path of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from nlpx.models.checkpoints import hub
from nlpx.sentence_modules import encoder_folder


def resolve(path_or_name: str | Path, patterns: tuple[str, ...] = hub.CONFIG_AND_WEIGHTS + hub.TOKENIZER_FILES) -> Path:
    """Where `hub.locate` finds a model, and in a sentence-transformers directory where its encoder lies."""
    return encoder_folder(hub.locate(path_or_name, patterns))
