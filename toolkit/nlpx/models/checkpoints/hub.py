"""From a name to a checkpoint: a local directory, else a shipped model, else the Hugging Face hub and its cache."""

from __future__ import annotations

from pathlib import Path

from nlpx import bundled
from nlpx.errors import InputError, MachineError
from nlpx.models.checkpoints.modules import encoder_folder

CONFIG_AND_WEIGHTS = ("*config*.json", "modules.json", "*.safetensors", "*.safetensors.index.json")
TOKENIZER_FILES = ("*vocab.txt", "*tokenizer*.json", "*special_tokens_map.json", "*added_tokens.json", "*.model")


def resolve(path_or_name: str | Path, patterns: tuple[str, ...] = CONFIG_AND_WEIGHTS + TOKENIZER_FILES) -> Path:
    """The local path of a checkpoint, and in a sentence-transformers directory that of its encoder; see `locate`."""
    return encoder_folder(locate(path_or_name, patterns))


def locate(path_or_name: str | Path, patterns: tuple[str, ...] = CONFIG_AND_WEIGHTS + TOKENIZER_FILES) -> Path:
    """The local path of a model: as given if it exists, else a shipped one, else a snapshot from the hub.

    Raises `InputError` if it is neither and `MachineError` if the hub cannot be reached.
    """
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


def looks_like_hub_name(name: str) -> bool:
    """`org/model` or `model`, without the characters of a file path."""
    parts = name.split("/")
    return len(parts) <= 2 and all(parts) and not name.startswith((".", "~")) and "\\" not in name


def snapshot(name: str, patterns: tuple[str, ...]) -> Path:
    """Download (or find in the cache) the files of a hub repository. Falls back to `.bin` without safetensors."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(patterns)))
        if _wants_weights(patterns) and not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=["pytorch_model*.bin", "*.bin.index.json"]))
    except Exception as error:
        raise _explain(name, error) from None
    return folder


def _wants_weights(patterns: tuple[str, ...]) -> bool:
    return any("safetensors" in pattern for pattern in patterns)


def _explain(name: str, error: Exception) -> InputError | MachineError:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    if isinstance(error, HFValidationError):
        return InputError(f"{name}: no such directory, and not a hub name", hint="hub names look like org/model")
    if isinstance(error, GatedRepoError):
        return InputError(f"{name}: the hub asks for access", hint="accept its terms and set HF_TOKEN")
    if isinstance(error, RepositoryNotFoundError):
        return InputError(f"{name}: no such directory, and no such repository on {constants.ENDPOINT}")
    offline = " (offline mode is on)" if constants.HF_HUB_OFFLINE else ""
    return MachineError(
        f"{name}: no such directory, not in the cache, and {constants.ENDPOINT} cannot be reached{offline}",
        hint="give a local directory, set HF_ENDPOINT to a mirror, or use --model new to train from scratch",
    )
