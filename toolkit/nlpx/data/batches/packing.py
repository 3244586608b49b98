"""Rows of one length from sentences of any: packed greedily, so that little is padding and nothing is truncated.

Planning works on the lengths of sentences alone; a row's tokens are read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nlpx.data.corpus.documents import Documents, Flags, Ids, Sentences, offsets_of
from nlpx.errors import UsageError

if TYPE_CHECKING:
    from nlpx.data.batches.masking import SpecialIds

_FRAME = 2  # [CLS] and [SEP]


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One row of T tokens: `token_ids`, where words begin (never a special token), the document of each token,
    counted from 0 within the row, and which tokens are special. A special token in the text parts words."""

    token_ids: Ids
    word_starts: Flags
    document_ids: Ids
    is_special: Flags


@dataclass(frozen=True, slots=True)
class _Plan:
    """Pieces of text and the rows they make: `starts` and `lengths` (P,) of the pieces, `num_pieces` (R,) a row."""

    starts: Ids
    lengths: Ids
    num_pieces: Ids


class PackedRows:
    """Rows that are read when asked for; `lengths` (R,) counts their tokens, special ones included."""

    def __init__(self, documents: Documents, plan: _Plan, *, special: SpecialIds, keep_apart: bool) -> None:
        self._documents, self._special, self._keep_apart = documents, special, keep_apart
        self._starts, self._lengths = plan.starts, plan.lengths
        self._pieces = offsets_of(plan.num_pieces)
        until = offsets_of(plan.lengths)[self._pieces]
        frames = plan.num_pieces if keep_apart else np.ones_like(plan.num_pieces)
        self.lengths: Ids = until[1:] - until[:-1] + _FRAME * frames

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int) -> PackedRow:
        """Read row `index`, which counts from 0."""
        first, last = self._pieces[index : index + 2].tolist()
        places = zip(self._starts[first:last].tolist(), self._lengths[first:last].tolist(), strict=True)
        pieces = [self._documents.read(start, length) for start, length in places]
        token_ids, starts, document_ids = self._blank(int(self.lengths[index]))
        place = 1
        for number, (ids, begins) in enumerate(pieces):
            end = place + len(ids)
            token_ids[place:end], starts[place:end] = ids, begins
            starts[place] = True  # the rest of a sentence may begin within a word
            if self._keep_apart:
                token_ids[place - 1], token_ids[end] = self._special.cls, self._special.sep
                document_ids[place - 1 : end + 1] = number
                end += _FRAME
            place = end
        return self._finished(token_ids, starts, document_ids)

    def _blank(self, length: int) -> tuple[Ids, Flags, Ids]:
        token_ids = np.empty(length, dtype=np.int64)
        token_ids[0], token_ids[-1] = self._special.cls, self._special.sep
        return token_ids, np.zeros(length, dtype=bool), np.zeros(length, dtype=np.int64)

    def _finished(self, token_ids: Ids, starts: Flags, document_ids: Ids) -> PackedRow:
        is_special = self._special.table[token_ids]
        starts[1:] |= is_special[:-1]
        starts &= ~is_special
        return PackedRow(token_ids, starts, document_ids, is_special)


def pack(documents: Documents, *, max_length: int, special: SpecialIds, keep_apart: bool, seed: int) -> PackedRows:
    """Pack all sentences into rows of at most `max_length` tokens, the documents in an order drawn from `seed`.

    A sentence joins the row if it fits, else it begins the next one; one that is longer than a row is continued
    in the next rows. With `keep_apart` each document's part of a row is `[CLS] ... [SEP]` with its own document
    id; without, a row is one `[CLS] ... [SEP]` in which sentences run on over the borders of documents. No token
    is lost or repeated. Raises `UsageError` if there is no room beside [CLS] and [SEP].
    """
    if max_length <= _FRAME:
        raise UsageError(f"max_length {max_length} leaves no room for text beside [CLS] and [SEP]")
    plan = _plan(documents.sentences(seed), max_length - _FRAME, keep_apart=keep_apart)
    return PackedRows(documents, plan, special=special, keep_apart=keep_apart)


def _plan(blocks: Iterator[Sentences], room: int, *, keep_apart: bool) -> _Plan:
    """Rows of all blocks in turn; the last row of one block may take more from the next."""
    plans, rest = [], Sentences.none()
    for block in blocks:
        rest = rest.followed_by(_without_long(block, room))
        firsts = _first_sentences(rest, room, keep_apart=keep_apart)
        if len(firsts):
            plans.append(_rows(rest.part(0, firsts[-1]), firsts[:-1]))
            rest = rest.part(firsts[-1], None)
    plans.append(_rows(rest, np.arange(min(1, len(rest.starts)))))
    columns = zip(*((plan.starts, plan.lengths, plan.num_pieces) for plan in plans), strict=True)
    return _Plan(*map(np.concatenate, columns))


def _without_long(sentences: Sentences, room: int) -> Sentences:
    """The same, but what is longer than a row comes in parts that fill one each, and a rest."""
    counts = -(-sentences.lengths // room)
    number = np.repeat(np.arange(len(counts)), counts)
    skipped = room * (np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts))
    lengths = np.minimum(sentences.lengths[number] - skipped, room)
    return Sentences(sentences.starts[number] + skipped, lengths, sentences.begins[number] & (skipped == 0))


def _first_sentences(sentences: Sentences, room: int, *, keep_apart: bool) -> Ids:
    """Indices of the sentences that begin a row, the first of all among them."""
    frames = _FRAME * sentences.begins if keep_apart else 0
    until = offsets_of(sentences.lengths + frames)
    # Where each sentence's row would end if it began there: the rows then follow by going from end to end.
    ends = np.searchsorted(until, until[:-1] + room + frames, side="right") - 1
    following, firsts, at = ends.tolist(), [], 0
    while at < len(following):
        firsts.append(at)
        at = following[at]
    return np.array(firsts, dtype=np.int64)


def _rows(sentences: Sentences, firsts: Ids) -> _Plan:
    """Rows that begin with the sentences `firsts`; what one document has in one row is one piece."""
    begins = sentences.begins.copy()
    begins[firsts] = True
    pieces = np.flatnonzero(begins)
    lengths = np.add.reduceat(sentences.lengths, pieces) if len(pieces) else sentences.lengths
    bounds = np.searchsorted(pieces, np.concatenate((firsts, [len(begins)])))
    return _Plan(sentences.starts[pieces], lengths, np.diff(bounds))
