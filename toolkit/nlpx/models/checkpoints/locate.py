"""From a name to a checkpoint: a local directory, else a shipped model, else a repository of the hub."""

from __future__ import annotations

from pathlib import Path

from nlpx import bundled
from nlpx.errors import InputError, refuse_empty
from nlpx.models.checkpoints.hub import looks_like_hub_name, snapshot
from nlpx.models.checkpoints.modules import encoder_folder

CONFIG_AND_WEIGHTS = ("*config*.json", "modules.json", "*.safetensors", "*.safetensors.index.json")
TOKENIZER_FILES = ("*vocab.txt", "*tokenizer*.json", "*special_tokens_map.json", "*added_tokens.json", "*.model")


def resolve(path_or_name: str | Path, patterns: tuple[str, ...] = CONFIG_AND_WEIGHTS + TOKENIZER_FILES) -> Path:
    """The local path of a checkpoint, and in a sentence-transformers directory that of its encoder; see `locate`."""
    return encoder_folder(locate(path_or_name, patterns))


def locate(path_or_name: str | Path, patterns: tuple[str, ...] = CONFIG_AND_WEIGHTS + TOKENIZER_FILES) -> Path:
    """The local path of a model: as given if it exists, else a shipped one, else a snapshot from the hub.

    A hub name is `org/model` or `org/model@revision`, the revision a branch, a tag or a commit.
    Raises `InputError` if it is neither, `UsageError` for an empty name, and what `snapshot` raises.
    """
    refuse_empty(path_or_name, what="a model")
    path = Path(path_or_name)
    if path.exists() or path.with_name(path.name + ".index").exists():
        return path
    if str(path_or_name) in bundled.models():
        return bundled.path(str(path_or_name))
    if looks_like_hub_name(str(path_or_name)):
        return snapshot(str(path_or_name), patterns)
    raise InputError(
        f"{path_or_name}: no such file or directory",
        hint="give a checkpoint directory, or a hub name like org/model",
    )
