"""From texts to arrays of tokens: sentences, ids and where words begin, many texts in one look-up.

A word is what the segmenter (HMM off) finds, with all its pieces; `##` pieces always belong to the word before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from nlpx.data.corpus.documents import Documents, Flags, Ids, TokenArrays, offsets_of
from nlpx.data.corpus.sentences import split_sentences
from nlpx.tokenizers.cache import BoundedCache
from nlpx.tokenizers.characters import lower_and_strip
from nlpx.tokenizers.segment import build_segmenter

if TYPE_CHECKING:
    from nlpx.tokenizers.base import Tokenizer
    from nlpx.tokenizers.char import CharTokenizer
    from nlpx.tokenizers.word import WordTokenizer

_LONGEST = 1 << 16  # characters of a sentence; what has no end for longer is parted, between words if there are any
_PARTS = re.compile(rf"(?s:.{{1,{_LONGEST}}}(?:(?<=[\s\u3400-\u9fff])|\Z)|.{{1,{_LONGEST}}})")


@dataclass
class Counts:
    """What became of the texts: nothing but what has no token is left out."""

    num_texts: int = 0
    num_empty_texts: int = 0
    num_characters: int = 0
    num_sentences: int = 0
    num_tokens: int = 0
    num_unknown: int = 0


@dataclass(frozen=True)
class _Block:
    """Tokens of consecutive sentences: ids and word starts (N,), and the number of tokens of each sentence (S,)."""

    token_ids: NDArray[Any]
    word_starts: Flags
    lengths: Ids


class _Encoder(Protocol):
    """How one kind of tokenizer turns a block of about `block` characters, which fit a cache, into tokens."""

    block: int

    def normalise(self, text: str) -> str: ...

    def encode(self, text: str, ends: Ids) -> tuple[NDArray[Any], Flags, Ids]:
        """Ids and word starts (N,), and how many tokens come before each of the positions `ends`."""
        ...


class _CharEncoder:
    block = 1 << 17

    def __init__(self, tokenizer: CharTokenizer, *, whole_words: bool) -> None:
        self._tokenizer = tokenizer
        self._segment = build_segmenter("rjieba") if whole_words else None

    def normalise(self, text: str) -> str:
        return text

    def encode(self, text: str, ends: Ids) -> tuple[NDArray[Any], Flags, Ids]:
        ids, before = self._tokenizer.encode_flat(text)
        if self._segment is None:
            return ids, np.ones(len(ids), dtype=bool), before[ends].astype(np.int64)
        starts = offsets_of(_lengths(self._segment(text)))[:-1]
        # A segment without a token of its own, such as a blank or the middle of a Latin word, begins no word.
        starts = starts[before[starts + 1] > before[starts]]
        word_starts = np.zeros(len(ids), dtype=bool)
        word_starts[before[starts]] = True
        return ids, word_starts, before[ends].astype(np.int64)


class _WordEncoder:
    block = 1 << 13  # an object for each segment takes more room

    def __init__(self, tokenizer: WordTokenizer, *, whole_words: bool) -> None:
        self._tokenizer, self._whole_words = tokenizer, whole_words
        self._ids: BoundedCache[tuple[int, ...]] = BoundedCache(lambda word: tuple(tokenizer.pieces(word)[0]))

    def normalise(self, text: str) -> str:
        return lower_and_strip(text) if self._tokenizer.do_lower_case else text

    def encode(self, text: str, ends: Ids) -> tuple[NDArray[Any], Flags, Ids]:
        segments = self._tokenizer.segment(text)
        pieces = list(map(self._ids.__getitem__, segments))
        until = offsets_of(_lengths(pieces))
        ids = np.fromiter(chain.from_iterable(pieces), dtype=np.int32, count=until[-1])
        word_starts = np.full(len(ids), not self._whole_words)
        word_starts[until[:-1][np.diff(until) > 0]] = True
        starts = offsets_of(_lengths(segments))[:-1]
        return ids, word_starts, until[np.searchsorted(starts, ends)]


@dataclass
class _Collected:
    """Blocks of tokens, and the documents that they belong to."""

    blocks: list[_Block] = field(default_factory=list)
    document_ends: list[int] = field(default_factory=list)  # sentences until the end of each
    digests: list[int] = field(default_factory=list)


class Flattener:
    """Turns texts into token arrays. Holds the segmenter and caches: make one per process."""

    def __init__(self, tokenizer: Tokenizer, *, whole_words: bool) -> None:
        tokenizer.require_bert(needed_by="Pretraining")
        self._unknown = tokenizer.unk_token_id
        self._dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
        is_word = tokenizer.kind == "word"
        self._encoder: _Encoder = (
            _WordEncoder(cast("WordTokenizer", tokenizer), whole_words=whole_words)
            if is_word
            else _CharEncoder(cast("CharTokenizer", tokenizer), whole_words=whole_words)
        )

    def __call__(self, texts: Iterable[str]) -> tuple[TokenArrays, Counts]:
        """The tokens of all texts, one document each, and what was counted on the way."""
        counts, collected = Counts(), _Collected()
        for sentences in self._blocks(texts, counts, collected):
            collected.blocks.append(self._encode(sentences))
        arrays = self._arrays(collected)
        counts.num_empty_texts = counts.num_texts - len(arrays.digests)
        counts.num_sentences = len(arrays.sentence_offsets) - 1
        counts.num_tokens = len(arrays.token_ids)
        counts.num_unknown = int(np.count_nonzero(arrays.token_ids == self._unknown))
        return arrays, counts

    def _blocks(self, texts: Iterable[str], counts: Counts, collected: _Collected) -> Iterator[list[str]]:
        """The sentences of all texts in blocks to be looked up together."""
        block: list[str] = []
        number = size = 0
        for text in texts:
            sentences = _sentences(self._encoder.normalise(text))
            counts.num_texts += 1
            counts.num_characters += len(text)
            number += len(sentences)
            collected.document_ends.append(number)
            collected.digests.append(digest(text))
            block += sentences
            size += len(text)
            if size >= self._encoder.block:
                yield from _parted(block, self._encoder.block)
                block, size = [], 0
        yield from _parted(block, self._encoder.block)

    def _encode(self, sentences: list[str]) -> _Block:
        ends = offsets_of(_lengths(sentences))[1:]
        ids, word_starts, until = self._encoder.encode("".join(sentences), ends)
        return _Block(ids.astype(self._dtype), word_starts, np.diff(until, prepend=0))

    def _arrays(self, collected: _Collected) -> TokenArrays:
        blocks = collected.blocks or [self._encode(["\n"])]
        lengths = np.concatenate([block.lengths for block in blocks])
        kept = offsets_of(lengths > 0)  # sentences with a token, until each place
        offsets = kept[[0, *collected.document_ends]]
        filled = np.diff(offsets) > 0
        return TokenArrays(
            np.concatenate([block.token_ids for block in blocks]),
            np.packbits(np.concatenate([block.word_starts for block in blocks])),
            offsets_of(lengths[lengths > 0]).astype(np.uint32),
            np.concatenate(([0], offsets[1:][filled])).astype(np.uint32),
            np.array(collected.digests, dtype=np.uint32)[filled],
        )


def _lengths(parts: Sequence[Sized]) -> Ids:
    return np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))


def documents_of(texts: Iterable[str], tokenizer: Tokenizer, *, whole_words: bool = True) -> Documents:
    """Documents in memory, one of each text: for tests and for data that need no shards."""
    return Documents([Flattener(tokenizer, whole_words=whole_words)(texts)[0]])


def digest(text: str) -> int:
    """32 bits that depend on nothing but the text; they decide whether a document is held out."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "little")


def _sentences(text: str) -> list[str]:
    """Its sentences, none too long; the line break behind the last keeps texts apart when they are joined."""
    sentences = split_sentences(text + "\n")
    if len(text) < _LONGEST:
        return sentences
    return list(chain.from_iterable(map(_PARTS.findall, sentences)))


def _parted(sentences: list[str], size: int) -> Iterator[list[str]]:
    """Parts of about `size` characters: one text may be as long as many blocks."""
    ends = offsets_of(_lengths(sentences))
    start = 0
    while start < len(sentences):
        end = max(start + 1, int(np.searchsorted(ends, ends[start] + 2 * size, side="right")) - 1)
        yield sentences[start:end]
        start = end


def held_out_bound(share: float) -> int:
    """Digests below it are of the documents that are held out, about this share of all."""
    return round(share * (1 << 32))
