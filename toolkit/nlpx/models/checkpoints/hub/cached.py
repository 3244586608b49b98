"""The files of the hub's cache: what arrived wrong, what an earlier download left, what a repository holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from zipfile import is_zipfile

from nlpx.errors import InputError, MachineError, UserError
from nlpx.first_bytes import Known, placeholder
from nlpx.models.checkpoints.hub.names import Name

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20
CUT = Known("cut short or damaged", "fetch it again")
_CONVERT = "convert it with the library it was made for and save it as safetensors, or name a repository that has them"

# What weights of other kinds end in, what they are called, and what would do.
_OTHER_WEIGHTS = {
    ".h5": ("Keras", _CONVERT),
    ".msgpack": ("Flax", _CONVERT),
    ".gguf": ("GGUF, quantised", "name the repository that the quantised weights were made from"),
    ".ckpt.index": ("TensorFlow", "download its files to a directory and name that: nlpx reads such bundles"),
    ".onnx": ("ONNX", "name the repository that the graph was made from"),
    ".ckpt": ("a checkpoint of another program", _CONVERT),
    ".pt": ("PyTorch under another name", "download it as pytorch_model.bin into a directory and name that"),
    ".bin": ("PyTorch under another name", "download it as pytorch_model.bin into a directory and name that"),
}


def blobs(name: Name) -> frozenset[str]:
    """Names of the files that the cache has of a repository; each is the file's hash, as the hub told it."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{name.repository.replace('/', '--')}" / "blobs"
    return frozenset(file.name for file in folder.iterdir()) if folder.is_dir() else frozenset()


def blob_of(file: Path) -> Path:
    """What a file of a snapshot stands for: a link to its blob, or itself where there are no links."""
    return file.parent / file.readlink() if file.is_symlink() else file


def spoilt_files(folder: Path, patterns: Iterable[str]) -> dict[Path, Known]:
    """Files of a snapshot that only have the name of what was wanted, or only a part of it."""
    wanted = {file for pattern in patterns for file in folder.rglob(pattern)}
    found = {file: placeholder(file) or (CUT if _is_cut(file) else None) for file in sorted(wanted)}
    return {file: known for file, known in found.items() if known is not None}


def _is_cut(file: Path) -> bool:
    """Whether weights end too early; each format tells from a few bytes."""
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="np"):
                return False
        with file.open("rb") as stream:
            return stream.read(2) == b"PK" and not is_zipfile(file)
    except SafetensorError:
        return True
    except OSError:  # told by whoever reads the file itself
        return False


def remove(file: Path) -> None:
    """Take a file out of the cache, so that the next look fetches it."""
    blob_of(file).unlink(missing_ok=True)
    file.unlink(missing_ok=True)


def refuse_wrong_hashes(name: Name, folder: Path, before: frozenset[str]) -> None:
    """Compare what has just arrived with the SHA-256 that the hub tells of large files.

    Raises `MachineError` for another hash, with the file removed.
    """
    for file in sorted(folder.rglob("*")):
        told = blob_of(file).name
        if not file.is_symlink() or told in before or not _SHA256.fullmatch(told):
            continue
        if _sha256(file) == told:
            continue
        known = placeholder(file)
        remove(file)
        if known is not None:
            raise sent_instead(name, file, known)
        raise MachineError(
            f"{name}: {file.name} arrived damaged: its SHA-256 is not the one the hub tells",
            hint="try again; if it stays so, HF_ENDPOINT or a proxy gives another file",
        )


def sent_instead(name: Name, file: Path, known: Known) -> MachineError:
    """The error for a page or a pointer that came in place of a file."""
    return MachineError(
        f"{name}: {known.name} came in place of {file.name}",
        hint="a proxy, a login or a mirror gives it; check HTTPS_PROXY and HF_ENDPOINT",
    )


def other_weights(name: Name, files: Sequence[str]) -> UserError:
    """The error for a repository without weights that nlpx reads: what it has, and what would do."""
    for ending, (kind, way_out) in _OTHER_WEIGHTS.items():
        found = sorted(file for file in files if file.endswith(ending))
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            return InputError(
                f"{name}: no weights in safetensors or PyTorch form, only {found[0]}{more} ({kind})", hint=way_out
            )
    return InputError(f"{name}: the repository has no weights", hint="name one that has model.safetensors")


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_BLOCK):
            digest.update(chunk)
    return digest.hexdigest()
