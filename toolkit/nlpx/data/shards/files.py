"""One shard on disk: a folder of arrays that is either whole or not there.

token_ids.npy, word_bits.npy, sentence_offsets.npy, document_offsets.npy, digests.npy    see `documents.Tokens`
meta.json    counts, and size and checksum of each array
"""

from __future__ import annotations

import errno
import hashlib
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpx.data.corpus.documents import TokenArrays
from nlpx.data.corpus.flatten import Counts
from nlpx.errors import InputError, MachineError
from nlpx.io import parse_json, replace_directory, write_json

ARRAYS = ("token_ids", "word_bits", "sentence_offsets", "document_offsets", "digests")
META = "meta.json"


class ShardTokens:
    """`documents.Tokens` of a shard. Ids and word bits are mapped when first read, the rest is read when asked for."""

    def __init__(self, folder: Path, counts: Counts) -> None:
        self.folder, self.counts = folder, counts

    @property
    def num_tokens(self) -> int:
        return self.counts.num_tokens

    @cached_property
    def token_ids(self) -> NDArray[Any]:
        return self._array("token_ids", mapped=True)

    @cached_property
    def word_bits(self) -> NDArray[np.uint8]:
        return self._array("word_bits", mapped=True)

    @property
    def sentence_offsets(self) -> NDArray[np.uint32]:
        return self._array("sentence_offsets")

    @property
    def document_offsets(self) -> NDArray[np.uint32]:
        return self._array("document_offsets")

    @property
    def digests(self) -> NDArray[np.uint32]:
        return self._array("digests")

    def _array(self, name: str, *, mapped: bool = False) -> NDArray[Any]:
        file = self.folder / f"{name}.npy"
        try:
            # A plain view of the mapping: the class that numpy maps with is slow to slice.
            return np.asarray(np.load(file, mmap_mode="r" if mapped else None))
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
                hint = "allow more of them: ulimit -n 4096"
                raise MachineError(f"{file}: too many files are open", hint=hint) from None
            raise _broken(file, "is no array") from None


def write_shard(folder: Path, arrays: TokenArrays, counts: Counts) -> None:
    """Write a shard, replacing whatever is there; a kill leaves the old one or the new one."""
    with replace_directory(folder) as temporary:
        files = {}
        for name in ARRAYS:
            file = temporary / f"{name}.npy"
            np.save(file, getattr(arrays, name))
            files[file.name] = {"size": file.stat().st_size, "blake2b": _checksum(file)}
        write_json(temporary / META, {"counts": asdict(counts), "files": files})


def open_shard(folder: Path) -> ShardTokens:
    """Open a shard whose files have the sizes they were written with; else InputError names the file."""
    meta = _read_meta(folder)
    for name, facts in meta["files"].items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else None
        if size != facts["size"]:
            what = "is missing" if size is None else f"has {size:,} of {facts['size']:,} bytes"
            raise _broken(file, what)
    return ShardTokens(folder, Counts(**meta["counts"]))


def finished_counts(folder: Path) -> Counts | None:
    """Counts of a shard that is there and bit for bit as it was written, else None."""
    try:
        meta = _read_meta(folder)
        whole = all(_checksum(folder / name) == facts["blake2b"] for name, facts in meta["files"].items())
    except (InputError, OSError):
        return None
    return Counts(**meta["counts"]) if whole else None


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta = parse_json((folder / META).read_text(encoding="utf-8"))
        return {"counts": dict(meta["counts"]), "files": dict(meta["files"])}
    except FileNotFoundError:
        raise _broken(folder / META, "is missing") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise _broken(folder / META, "cannot be read") from None


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _broken(file: Path, what: str) -> InputError:
    hint = f"delete the folder {file.parent.parent}: the next run tokenizes the corpus again"
    return InputError(f"{file} {what}", hint=hint)
