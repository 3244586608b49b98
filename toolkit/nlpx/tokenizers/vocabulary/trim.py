"""Trimming a vocabulary to the entries that a corpus uses, so that no text of it changes its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nlpx.tokenizers.base import Tokenizer
from nlpx.tokenizers.characters import is_dropped, lower_and_strip
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab
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

    def kept(self, min_count: int = 1) -> list[int]:
        """Old ids to keep: special tokens first, then in their order what was used, single ASCII characters with
        their `##` forms, and entries without which an unknown word would come apart into known pieces.
        """
        vocab = self.tokenizer.vocab
        used = {int(index) for index in np.flatnonzero(self.counts >= max(1, min_count))} | self._needed_for_unknown
        used |= {index for token, index in vocab.ids.items() if _is_single_ascii(token)}
        special = [vocab.ids[token] for token in SPECIAL_TOKENS if token in vocab.ids] + list(vocab.added_by_id())
        return special + sorted(used - set(special))

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
