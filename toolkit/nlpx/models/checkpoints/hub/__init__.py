"""From a name to a checkpoint: a local directory, else a shipped model, else the Hugging Face hub and its cache."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from nlpx import aliases, bundled
from nlpx.errors import InputError, MachineError, UserError, refuse_empty
from nlpx.models.checkpoints.hub import cached
from nlpx.models.checkpoints.hub.failures import explained
from nlpx.models.checkpoints.hub.names import Name, looks_like_hub_name
from nlpx.models.checkpoints.hub.of_run import checkpoint_of
from nlpx.models.checkpoints.hub.watching import Watch, watched
from nlpx.notes import note

__all__ = ["locate", "looks_like_hub_name", "snapshot"]

DENSE_WEIGHTS = "*_Dense/pytorch_model.bin"  # small, and often stored in this form alone
CONFIG_AND_WEIGHTS = ("*config*.json", "modules.json", "*.safetensors", "*.safetensors.index.json", DENSE_WEIGHTS)
TOKENIZER_FILES = ("*vocab.txt", "*tokenizer*.json", "*special_tokens_map.json", "*added_tokens.json", "*.model")
PYTORCH_WEIGHTS = ("*pytorch_model*.bin", "*.bin.index.json")


def locate(path_or_name: str | Path, patterns: tuple[str, ...] = CONFIG_AND_WEIGHTS + TOKENIZER_FILES) -> Path:
    """The local path of a model: as given if it exists, else a shipped one, else a snapshot from the hub.

    A run folder stands for its best checkpoint. A hub name is `org/model` or `org/model@revision`, the revision a
    branch, a tag or a commit.
    Raises `InputError` if it is neither, `UsageError` for an empty name, and what `snapshot` raises.
    """
    refuse_empty(path_or_name, what="a model")
    path = Path(path_or_name)
    if path.exists() or path.with_name(path.name + ".index").exists():
        return checkpoint_of(path)
    if str(path_or_name) in bundled.models():
        shipped = bundled.path(str(path_or_name))
        aliases.call(shipped, str(path_or_name))
        return shipped
    if looks_like_hub_name(str(path_or_name)):
        return snapshot(str(path_or_name), patterns)
    raise InputError(
        f"{path_or_name}: no such file or directory",
        hint="give a checkpoint directory, or a hub name like org/model",
    )


@cache  # within one process a name stands for one revision, and is looked up once
def snapshot(name: str, patterns: tuple[str, ...]) -> Path:
    """Download (or find in the cache) the files of a hub repository. Falls back to `.bin` without safetensors.

    If the hub cannot be asked, what the cache has is used, with a note.

    Raises `InputError` for a repository, revision or file that is not there, that needs a token, or whose weights are
    of another kind; `MachineError` if the hub cannot be reached, fails, or sends something else.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    repository = Name.parse(name)
    try:
        validate_repo_id(repository.repository)
    except HFValidationError:
        hint = "hub names look like org/model or org/model@revision"
        raise InputError(f"{name}: no such directory, and not a hub name", hint=hint) from None
    folder = _fetch(repository, patterns, offline=constants.HF_HUB_OFFLINE)
    if any("safetensors" in pattern for pattern in patterns) and not _has_safetensors(folder):
        folder = _fetch(repository, PYTORCH_WEIGHTS, offline=constants.HF_HUB_OFFLINE)
        if not any(next(folder.rglob(pattern), None) for pattern in ("*.safetensors", PYTORCH_WEIGHTS[0])):
            raise _without_weights(repository)
    return folder


def _has_safetensors(folder: Path) -> bool:
    # In older sentence-transformers repositories the encoder lies in 0_Transformer.
    return any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "0_*/*.safetensors"))


def _fetch(name: Name, patterns: tuple[str, ...], *, offline: bool) -> Path:
    if offline:
        return _from_cache(name, patterns)
    with watched(name) as watch:
        try:
            return _checked(name, patterns, _download(name, patterns, watch), watch)
        except UserError as failure:
            # A file that is missing is in no cache; a revision that is gone should not come back unnoticed.
            if watch.is_downloading or watch.has_no_revision:
                raise
            try:
                folder = _from_cache(name, patterns)
            except UserError:
                reason = failure.message.removeprefix(f"{name}: ")
                message = f"{name}: no such directory, not in the cache, and {reason}"
                raise type(failure)(message, hint=failure.hint) from failure
            note(f"{failure.message}; the copy in the cache is used")
            return folder


def _download(name: Name, patterns: tuple[str, ...], watch: Watch) -> Path:
    from huggingface_hub import snapshot_download

    with explained(name, watch):
        folder = Path(
            snapshot_download(
                name.repository, revision=name.revision, allow_patterns=list(patterns), etag_timeout=watch.limit
            )
        )
    if watch.is_unanswered:
        note(f"{name}: {watch.endpoint} does not answer; the copy in the cache is used")
    aliases.call(folder, str(name))
    return folder


def _checked(name: Name, patterns: tuple[str, ...], folder: Path, watch: Watch) -> Path:
    """The folder without pages, pointers and parts of files: those of earlier downloads are fetched anew, once."""
    cached.refuse_wrong_hashes(name, folder, watch.blobs_before)
    spoilt = cached.spoilt_files(folder, patterns)
    old = [file for file in spoilt if cached.blob_of(file).name in watch.blobs_before]
    for file, known in spoilt.items():
        if file not in old and known is not cached.CUT:  # cut in the repository itself: told where it is opened
            cached.remove(file)
            raise cached.sent_instead(name, file, known)
    if not old:
        return folder
    for file in old:
        note(f"{name}: {file.name} in the cache is {spoilt[file].name}; it is fetched anew")
        cached.remove(file)
    watch.blobs_before = cached.blobs(name)
    return _checked(name, patterns, _download(name, patterns, watch), watch)


def _from_cache(name: Name, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download

    with explained(name, None):
        folder = Path(
            snapshot_download(
                name.repository, revision=name.revision, allow_patterns=list(patterns), local_files_only=True
            )
        )
    aliases.call(folder, str(name))
    for file, known in cached.spoilt_files(folder, patterns).items():
        raise InputError(
            f"{name}: {file.name} in the cache is {known.name}, and the hub cannot be asked for the file",
            hint="run once with a connection and without HF_HUB_OFFLINE: then it is fetched anew",
        )
    return folder


def _without_weights(name: Name) -> UserError:
    """What a repository holds instead of weights that nlpx reads, and what would do."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return MachineError(
            f"{name}: the cache has no weights of it (offline mode is on)", hint="unset HF_HUB_OFFLINE to fetch them"
        )
    with watched(name) as watch, explained(name, watch):
        info = HfApi().model_info(name.repository, revision=name.revision)
    return cached.other_weights(name, [sibling.rfilename for sibling in info.siblings or ()])
