"""What shards are made of, in few words: the same words, the same shards."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.data.corpus.pieces import Reading
from nlpx.data.opening.sources import Source

if TYPE_CHECKING:
    from nlpx.tokenizers.base import Tokenizer

Recipe = dict[str, Any]

FORM = 2  # of the files and of how texts are split: another number makes other shards
WHOLLY_HASHED = 1 << 28  # bytes; of a larger file, three samples and the time of its last change count
SAMPLE_BYTES = 1 << 20  # of each of the three samples of a large file

_OPTIONS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "segmenter")
_SEGMENTERS = ("rjieba", "jieba")


def recipe(sources: Sequence[Source], tokenizer: Tokenizer, *, reading: Reading, whole_words: bool) -> Recipe:
    """Everything that decides what the shards hold. File names do not: a corpus may be moved.

    Files up to 256 MB count by their content; larger ones by size, time of change and content of the first, the
    middle and the last megabyte; URLs by address and size.
    """
    return {
        "form": FORM,
        "corpus": [_fingerprint(source) for source in sources],
        "reading": asdict(reading),
        "tokenizer": _describe(tokenizer, whole_words=whole_words),
        "whole_words": whole_words,
    }


def key_of(made_of: Recipe) -> str:
    """A name for the folder of these shards."""
    return _hash(json.dumps(made_of, sort_keys=True, ensure_ascii=False), size=12)


def differences(wanted: Recipe, found: Recipe) -> list[str]:
    """The parts in which two recipes differ, such as `tokenizer.vocabulary`."""
    return list(_differences(wanted, found, ""))


def _differences(wanted: Recipe, found: Recipe, prefix: str) -> Iterator[str]:
    for name, value in wanted.items():
        other = found.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from _differences(value, other, f"{prefix}{name}.")
        elif value != other:
            yield prefix + name


def _describe(tokenizer: Tokenizer, *, whole_words: bool) -> dict[str, Any]:
    options = {name: getattr(tokenizer, name) for name in _OPTIONS if hasattr(tokenizer, name)}
    segments = whole_words or tokenizer.kind == "word"
    return {
        "kind": tokenizer.kind,
        "vocabulary": _hash(tokenizer.vocab.text()),
        **options,
        **({"added_tokens": [token.content for token in tokenizer.vocab.added]} if tokenizer.vocab.added else {}),
        "user_dictionary": _hash(json.dumps(getattr(tokenizer, "user_words", []), ensure_ascii=False)),
        "segmenters": {name: importlib.metadata.version(name) for name in _SEGMENTERS} if segments else None,
    }


def _fingerprint(source: Source) -> dict[str, Any]:
    path = Path(source.path)
    facts: dict[str, Any] = {"size": source.size, "format": source.format, "compression": source.compression}
    if not path.is_file():
        return facts | {"url": source.path}
    size = path.stat().st_size
    if size <= WHOLLY_HASHED:
        with path.open("rb") as stream:
            return facts | {"blake2b": hashlib.file_digest(stream, _digest).hexdigest()}
    return facts | {"changed": path.stat().st_mtime_ns, "samples": _samples(path, size)}


def _samples(path: Path, size: int) -> str:
    digest = _digest()
    with path.open("rb") as stream:
        for place in (0, size // 2, size - SAMPLE_BYTES):
            stream.seek(place)
            digest.update(stream.read(SAMPLE_BYTES))
    hexadecimal: str = digest.hexdigest()
    return hexadecimal


def _digest() -> Any:
    return hashlib.blake2b(digest_size=16)


def _hash(text: str, *, size: int = 16) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
