"""A tokenized corpus on disk: shards that are mapped into memory, made once and found again.

A folder holds `index.json` (what the shards were made of, what they hold in all, and their names), `tokenizer/`,
and a folder for each shard (see `shard_files`). Without the names in the index, the build has not finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nlpx.data.corpus.documents import Documents
from nlpx.data.corpus.flatten import Counts, held_out_bound
from nlpx.data.shards.files import ShardTokens, open_shard
from nlpx.errors import InputError
from nlpx.io import parse_json

INDEX, TOKENIZER = "index.json", "tokenizer"


class Shards:
    """The opened shards of a corpus; the fraction `held_out` of its documents is held out by the hash of their text."""

    def __init__(self, folder: Path, counts: Counts, shards: Sequence[ShardTokens], *, held_out: float) -> None:
        self.folder, self._counts, self._shards = folder, counts, shards
        self.num_documents = counts.num_texts - counts.num_empty_texts
        self.num_sentences, self.num_tokens = counts.num_sentences, counts.num_tokens
        self._bound = held_out_bound(held_out)

    @cached_property
    def train(self) -> Documents:
        """The documents to learn from."""
        return self._documents(held_out=False)

    @cached_property
    def held_out(self) -> Documents:
        """The documents held out; equal texts are never on both sides."""
        return self._documents(held_out=True)

    @property
    def facts(self) -> dict[str, Any]:
        """What people and manifests want to know. Empty texts had no token: blanks and control characters only."""
        counts = self._counts
        return {
            "folder": str(self.folder),
            "shards": len(self._shards),
            "texts": counts.num_texts,
            "empty_texts": counts.num_empty_texts,
            "documents": self.num_documents,
            "held_out_documents": self.held_out.num_documents,
            "characters": counts.num_characters,
            "sentences": counts.num_sentences,
            "tokens": counts.num_tokens,
            "unknown_tokens": counts.num_unknown,
            "unknown_fraction": counts.num_unknown / max(1, counts.num_tokens),
        }

    def _documents(self, *, held_out: bool) -> Documents:
        chosen = [np.flatnonzero((shard.digests < self._bound) == held_out) for shard in self._shards]
        return Documents(self._shards, chosen)


def open_shards(folder: Path, *, held_out: float) -> Shards:
    """Open what `build_shards` finished. Raises InputError for a folder that is missing, unfinished or damaged."""
    try:
        index = parse_json((folder / INDEX).read_text(encoding="utf-8"))
        counts, names = Counts(**index["counts"]), list(index["shards"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{folder} holds no finished shards", hint="run with the corpus itself: what is missing is built"
        ) from None
    shards = [open_shard(folder / name) for name in names]
    return Shards(folder, counts, [shard for shard in shards if shard.num_tokens], held_out=held_out)
