"""Documents as arrays of tokens, in memory or mapped from shards; the same to whoever packs them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Tokens(Protocol):
    """N tokens of D documents with S sentences; no document and no sentence without a token.

    `token_ids` (N,) unsigned; `word_bits` (N / 8,) says, packed, where a word begins; `sentence_offsets` (S + 1,)
    counts tokens; `document_offsets` (D + 1,) counts sentences; `digests` (D,) are hashes of the texts.
    """

    @property
    def num_tokens(self) -> int: ...
    @property
    def token_ids(self) -> NDArray[Any]: ...
    @property
    def word_bits(self) -> NDArray[np.uint8]: ...
    @property
    def sentence_offsets(self) -> NDArray[np.uint32]: ...
    @property
    def document_offsets(self) -> NDArray[np.uint32]: ...
    @property
    def digests(self) -> NDArray[np.uint32]: ...


@dataclass(frozen=True)
class TokenArrays:
    """`Tokens` in memory."""

    token_ids: NDArray[Any]
    word_bits: NDArray[np.uint8]
    sentence_offsets: NDArray[np.uint32]
    document_offsets: NDArray[np.uint32]
    digests: NDArray[np.uint32]

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True)
class Sentences:
    """Sentences in the order in which they are packed: the place of each among all tokens, its length, and whether
    a document begins with it; all (S,)."""

    starts: Ids
    lengths: Ids
    begins: Flags

    @classmethod
    def none(cls) -> Sentences:
        """No sentence."""
        nothing = np.empty(0, dtype=np.int64)
        return cls(nothing, nothing, nothing.astype(bool))

    def part(self, start: int, end: int | None) -> Sentences:
        """Those from `start` to before `end`."""
        return Sentences(self.starts[start:end], self.lengths[start:end], self.begins[start:end])

    def followed_by(self, other: Sentences) -> Sentences:
        """These and then those."""
        return Sentences(
            np.concatenate((self.starts, other.starts)),
            np.concatenate((self.lengths, other.lengths)),
            np.concatenate((self.begins, other.begins)),
        )


def offsets_of(lengths: NDArray[Any]) -> Ids:
    """Where each of N things laid end to end begins, and where one more would, (N + 1,)."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


class Documents:
    """Some documents of several `Tokens`: all of them, unless `chosen` holds the indices of those that count.

    Tokens are addressed as if all lay one behind the other.
    """

    def __init__(self, parts: Sequence[Tokens], chosen: Sequence[Ids] | None = None) -> None:
        self._parts = list(parts)
        self._chosen = [np.arange(len(part.digests)) for part in parts] if chosen is None else list(chosen)
        self._bases = [0, *accumulate(part.num_tokens for part in parts)]

    @property
    def num_documents(self) -> int:
        return sum(map(len, self._chosen))

    @property
    def num_sentences(self) -> int:
        pairs = zip(self._parts, self._chosen, strict=True)
        return sum(int(np.diff(part.document_offsets)[chosen].sum()) for part, chosen in pairs)

    @property
    def num_tokens(self) -> int:
        pairs = zip(self._parts, self._chosen, strict=True)
        return sum(int(np.diff(part.sentence_offsets[part.document_offsets])[chosen].sum()) for part, chosen in pairs)

    def read(self, start: int, length: int) -> tuple[Ids, Flags]:
        """Ids (T,) and word starts (T,) of `length` tokens from `start` on, all of one part."""
        number = bisect_right(self._bases, start) - 1
        part, begin = self._parts[number], start - self._bases[number]
        first = begin >> 3
        bits = np.unpackbits(part.word_bits[first : (begin + length + 7) >> 3], count=begin + length - (first << 3))
        return part.token_ids[begin : begin + length].astype(np.int64), bits[begin - (first << 3) :].view(np.bool_)

    def sentences(self, seed: int) -> Iterator[Sentences]:
        """All sentences, part by part: the parts in an order drawn from `seed`, in each the documents likewise."""
        random = np.random.default_rng(seed)
        for number in random.permutation(len(self._parts)).tolist():
            order = random.permutation(self._chosen[number])
            yield _sentences(self._parts[number], order, self._bases[number])


def _sentences(part: Tokens, order: Ids, base: int) -> Sentences:
    document_offsets, sentence_offsets = part.document_offsets, part.sentence_offsets
    first = document_offsets[order].astype(np.int64)
    counts = document_offsets[order + 1] - first
    until = np.cumsum(counts)
    numbers = np.arange(counts.sum()) + np.repeat(first - (until - counts), counts)
    starts = sentence_offsets[numbers].astype(np.int64)
    begins = np.zeros(len(numbers), dtype=bool)
    begins[until - counts] = True
    return Sentences(starts + base, sentence_offsets[numbers + 1] - starts, begins)
