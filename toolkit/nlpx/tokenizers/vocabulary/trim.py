"""Trimming a vocabulary to the entries that a corpus uses, so that no text of it changes its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nlpx.errors import InputError, UsageError
from nlpx.tokenizers.base import Tokenizer
from nlpx.tokenizers.characters import is_dropped, lower_and_strip
from nlpx.tokenizers.sentencepiece import SentencePieceTokenizer
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab
from nlpx.tokenizers.vocabulary.extend import with_vocabulary
from nlpx.tokenizers.vocabulary.pieces import always_kept, is_bpe, read_pieces, with_pieces
from nlpx.tokenizers.wordpiece import longest_pieces


class Usage:
    """How often each entry of a tokenizer's vocabulary was used by the texts added so far."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.counts: NDArray[np.int64] = np.zeros(tokenizer.vocab_size, dtype=np.int64)
        self.num_texts = self.num_characters = 0
        self._needed_for_unknown: set[int] = set()
        self._unknown_words: set[str] = set()

    @property
    def num_tokens(self) -> int:
        """Tokens of all texts, without the special ones around them."""
        return int(self.counts.sum())

    @property
    def num_unknown(self) -> int:
        """How many of the tokens were [UNK]."""
        return int(self.counts[self.tokenizer.unk_token_id])

    def add(self, texts: Sequence[str], times: int = 1) -> None:
        """Tokenize texts, each of which occurred `times` times."""
        unknown, around = self.tokenizer.unk_token_id, len(self.tokenizer.encode("").token_ids)
        has_start = self.tokenizer.cls_token_id is not None
        ids: list[int] = []
        for text, encoding in zip(texts, self.tokenizer.encode_batch(texts), strict=True):
            inner = encoding.token_ids[has_start : len(encoding.token_ids) - (around - has_start)]
            ids += inner
            if unknown in inner:
                self._note_unknown(text)
        self.counts += times * np.bincount(np.asarray(ids, dtype=np.int64), minlength=len(self.counts))
        self.num_texts += times * len(texts)
        self.num_characters += times * sum(map(len, texts))

    def add_token(self, token: str, times: int) -> None:
        """An entry that was counted as such."""
        self.counts[self.tokenizer.vocab.ids[token]] += times

    def kept(self, min_count: int = 1, size: int | None = None) -> list[int]:
        """Old ids to keep: special tokens first, then in their order what was used, single ASCII characters with
        their `##` forms, and entries without which an unknown word would come apart into known pieces.

        With `size` no more than that in all, the most frequent of what was used. Raises `UsageError` if it leaves no
        room.
        """
        vocab = self.tokenizer.vocab
        special = [vocab.ids[token] for token in SPECIAL_TOKENS if token in vocab.ids] + list(vocab.added_by_id())
        needed = {index for token, index in vocab.ids.items() if _is_single_ascii(token)} | self._needed_for_unknown
        always = {*special, *needed}
        used = [int(index) for index in np.flatnonzero(self.counts >= max(1, min_count)) if index not in always]
        return special + sorted((always | set(self.most_used(used, size, len(always)))) - set(special))

    def most_used(self, ids: list[int], size: int | None, num_always: int) -> list[int]:
        """Those of `ids` that find room in a vocabulary of `size` (None: all), `num_always` entries of it being taken.

        Raises `UsageError` if there is no room.
        """
        if size is None:
            return ids
        if size <= num_always:
            raise UsageError(
                f"--size {size} leaves no room for what the texts use",
                hint=f"special tokens and other entries that always stay take {num_always}",
            )
        return sorted(ids, key=lambda index: (-int(self.counts[index]), index))[: size - num_always]

    def _note_unknown(self, text: str) -> None:
        encoding = self.tokenizer.encode(text, return_offsets=True)
        spans = zip(encoding.token_ids, encoding.offsets or [], strict=True)
        for word in {text[start:end] for index, (start, end) in spans if index == self.tokenizer.unk_token_id}:
            if len(word) > 1 and word not in self._unknown_words:
                self._unknown_words.add(word)
                self._needed_for_unknown |= set(pieces_until_failure(self._normalised(word), self.tokenizer.vocab.ids))

    def _normalised(self, word: str) -> str:
        word = "".join(character for character in word if not is_dropped(character))
        return lower_and_strip(word) if self.tokenizer.do_lower_case else word


def trim_entries(usage: Usage, min_count: int, size: int | None) -> tuple[Tokenizer, list[int]]:
    """A tokenizer of BERT with the entries of its vocabulary that were used, and their old ids in the new order."""
    kept = usage.kept(min_count, size)
    return with_vocabulary(usage.tokenizer, trimmed(usage.tokenizer.vocab, kept)), kept


def check_pieces(tokenizer: SentencePieceTokenizer) -> None:
    """Raises `InputError` for a sentencepiece file none of whose pieces can be left out."""
    layout, source = tokenizer.layout, tokenizer.vocab.source
    hint = "T5's and mT5's can be trimmed"
    if layout.first or layout.dropped or layout.last:
        raise InputError(f"{source}: {tokenizer.model_type} numbers the pieces otherwise than the file does", hint=hint)
    if is_bpe(tokenizer.model):
        raise InputError(f"{source}: the pieces of a BPE are merged from smaller ones, which no text shows", hint=hint)


def trim_pieces(usage: Usage, min_count: int, size: int | None) -> tuple[Tokenizer, list[int]]:
    """The same of a sentencepiece tokenizer: what stays keeps its order, added tokens behind the pieces."""
    tokenizer = usage.tokenizer
    if not isinstance(tokenizer, SentencePieceTokenizer):
        raise TypeError(f"{tokenizer.reason}: no pieces to trim")
    pieces = read_pieces(tokenizer.model)
    always = always_kept(pieces) | set(tokenizer.added_tokens)
    used = [int(index) for index in np.flatnonzero(usage.counts >= max(1, min_count)) if index not in always]
    kept = sorted(always.union(usage.most_used(used, size, len(always))))
    moved = {new: tokenizer.added_tokens[old] for new, old in enumerate(kept) if old in tokenizer.added_tokens}
    model = with_pieces(tokenizer.model, kept)
    return SentencePieceTokenizer(
        model, model_type=tokenizer.model_type, source=tokenizer.vocab.source, added=moved
    ), kept


def trimmed(vocab: Vocab, keep_tokens: Iterable[int]) -> Vocab:
    """The entries of `keep_tokens`, in that order."""
    return Vocab([vocab.tokens[index] for index in keep_tokens], source=f"{vocab.source}, trimmed", added=vocab.added)


def pieces_until_failure(word: str, ids: Mapping[str, int]) -> list[int]:
    """The pieces WordPiece passes through in an unknown word before it finds none that fits.

    While these stay, the longest piece from each of its places stays the same, so the word fails at the same place.
    """
    return [index for index, _, _ in longest_pieces(word, ids)]


def _is_single_ascii(token: str) -> bool:
    stem = token.removeprefix("##") if len(token) > 2 else token
    return len(stem) == 1 and stem.isascii()
