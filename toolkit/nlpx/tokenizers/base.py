"""What all tokenizers share: special tokens, pairs, truncation, decoding. How a text is split is their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from nlpx.errors import InputError, UsageError
from nlpx.tokenizers.decode import join_tokens
from nlpx.tokenizers.encoding import Encoding, Frame, Span
from nlpx.tokenizers.padding import padded
from nlpx.tokenizers.truncate import truncated_lengths
from nlpx.tokenizers.vocab import Kind, Vocab

if TYPE_CHECKING:
    from torch import Tensor

# Ids of every text and, on request, spans of every text. The lists are the caller's to change.
Rows = tuple[list[list[int]], list[list[Span]] | None]

# Texts are tokenized in blocks of about this many characters: the arrays then stay in the processor's cache, and
# memory does not grow with the batch.
_BLOCK = 1 << 17
_SPECIAL_SPAN = (0, 0)  # special tokens stand for no characters


class Tokenizer(ABC):
    """A tokenizer over one vocabulary. Ids of special tokens that the vocabulary lacks are None.

    `kind` is "char", "word" or "subword", `reason` the sentence that says why. What the vocabulary lacks of [CLS] and
    [SEP] is left out of encodings. Objects can be pickled, so worker processes may hold them.
    """

    kind: Kind
    unk_token_id: int | None

    def __init__(self, vocab: Vocab, *, do_lower_case: bool = True, reason: str | None = None) -> None:
        self.vocab = vocab
        self.do_lower_case = do_lower_case
        self.reason = reason if reason is not None else vocab.recognise()[1]
        self.pad_token_id = vocab.ids.get("[PAD]")
        self.unk_token_id = vocab.ids.get("[UNK]")
        self.cls_token_id = vocab.ids.get("[CLS]")
        self.sep_token_id = vocab.ids.get("[SEP]")
        self.mask_token_id = vocab.ids.get("[MASK]")
        self.frame = Frame.of_bert(self.cls_token_id, self.sep_token_id)

    @property
    def vocab_size(self) -> int:
        """Number of entries of the vocabulary."""
        return len(self.vocab)

    def require_bert(self, *, needed_by: str) -> None:
        """Raises `InputError` unless the vocabulary is one of BERT's, of characters or words.

        `needed_by` is what only works with those, as the beginning of a sentence.
        """
        if self.kind == "subword":
            raise InputError(
                f"{needed_by} needs a BERT vocabulary (vocab.txt); {self.vocab.source} is another kind of tokenizer",
                hint="take a checkpoint with BERT's vocabulary, such as char-tiny or hfl/chinese-roberta-wwm-ext; "
                "embed, similar, finetune, predict and whiten work with this one",
            )

    def require_rows(self, num_rows: int, *, name: object) -> None:
        """Raises `InputError` if there are more entries than rows in the word table of the model `name`."""
        if self.vocab_size > num_rows:
            raise InputError(
                f"{name}: the vocabulary has {self.vocab_size:,} entries, the model's word table {num_rows:,} rows",
                hint="take the vocabulary that was released with these weights",
            )

    def tokenize(self, text: str) -> list[str]:
        """The tokens of `text` as the vocabulary writes them, without [CLS] and [SEP]."""
        rows, _ = self._checked_rows([text], return_offsets=False)
        return [self.vocab.tokens[index] for index in rows[0]]

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        max_length: int | None = None,
        return_offsets: bool = False,
    ) -> Encoding:
        """Encode one text or one pair; see `encode_batch`."""
        pairs = None if pair is None else [pair]
        return self.encode_batch([text], pairs, max_length=max_length, return_offsets=return_offsets)[0]

    @overload
    def encode_batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        return_offsets: bool = False,
        pad: Literal[False] = False,
    ) -> list[Encoding]: ...

    @overload
    def encode_batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        return_offsets: Literal[False] = False,
        pad: Literal[True],
    ) -> dict[str, Tensor]: ...

    def encode_batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        return_offsets: bool = False,
        pad: bool = False,
    ) -> list[Encoding] | dict[str, Tensor]:
        """Encode every text, with its partner in `pairs` if given, to at most `max_length` ids.

        With `pad` the rows come as tensors for a model's call instead: `token_ids` and `segment_ids` (int64) and
        `attention_mask` (bool, true for real tokens), each (B, T).

        What is too long loses tokens at its end, a pair always at the end of its longer text (on equal
        lengths the first); [CLS] and both [SEP] stay. Raises `InputError` for a lone surrogate, with its
        place, and `UsageError` for a `max_length` below the number of special tokens, `pairs` of another
        length, and padding with offsets, without texts or without a padding token.
        """
        if pad:
            return self._padded(texts, pairs, max_length=max_length, return_offsets=return_offsets)
        limit = self._limit(max_length, is_pair=pairs is not None)
        if pairs is not None and len(pairs) != len(texts):
            raise UsageError(f"{len(texts)} texts but {len(pairs)} partners")
        ids, spans = self._checked_rows(texts, return_offsets=return_offsets)
        if pairs is None:
            row_spans = repeat(None) if spans is None else iter(spans)
            return [self._single(row, next(row_spans), limit) for row in ids]
        more_ids, more_spans = self._checked_rows(pairs, return_offsets=return_offsets)
        rows = zip(ids, more_ids, strict=True)
        if spans is None or more_spans is None:
            return [self._pair(row, None, limit) for row in rows]
        pair_spans = zip(spans, more_spans, strict=True)
        return [self._pair(row, span, limit) for row, span in zip(rows, pair_spans, strict=True)]

    def _padded(
        self, texts: Sequence[str], pairs: Sequence[str] | None, *, max_length: int | None, return_offsets: bool
    ) -> dict[str, Tensor]:
        import torch

        if return_offsets or not texts or self.pad_token_id is None:
            wrong = "offsets are not padded" if return_offsets else "there is no text" if not texts else "no [PAD]"
            raise UsageError(f"encode_batch(pad=True): {wrong}", hint="encode without pad and pad the rows yourself")
        rows = self.encode_batch(texts, pairs, max_length=max_length)
        second_starts = [len(row.segment_ids) - sum(row.segment_ids) for row in rows]
        arrays = padded([row.token_ids for row in rows], second_starts, self.pad_token_id)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}  # (B, T) each

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """Text of `ids`: Chinese closed up, other words apart. Raises `InputError` for an id out of range."""
        special = self._special_ids() if skip_special_tokens else frozenset()
        return join_tokens([self._token(index) for index in map(int, ids) if index not in special])

    @abstractmethod
    def save(self, directory: str | Path) -> None:
        """Write the files from which `load_tokenizer` makes the same tokenizer again."""

    @abstractmethod
    def _rows(self, texts: Sequence[str], *, return_offsets: bool) -> Rows:
        """Ids and, on request, spans of every text, without special tokens.

        Raises `UnicodeEncodeError` if a text holds a lone surrogate.
        """

    def _checked_rows(self, texts: Sequence[str], *, return_offsets: bool) -> Rows:
        ids: list[list[int]] = []
        spans: list[list[Span]] = []
        for first, block in _blocks(texts):
            try:
                block_ids, block_spans = self._rows(block, return_offsets=return_offsets)
            except UnicodeEncodeError:
                raise _surrogate_error(block, first) from None
            ids += block_ids
            spans += block_spans or []
        return ids, spans if return_offsets else None

    def _single(self, ids: list[int], spans: list[Span] | None, limit: int | None) -> Encoding:
        # Changed in place: a second list a row would cost more than the look-up of its characters.
        frame = self.frame
        if limit is not None:
            del ids[limit:]
        ids[:0] = frame.start
        ids += frame.end
        offsets = None if spans is None else _around(frame.start, spans[:limit], frame.end)
        return Encoding(ids, [0] * len(ids), offsets)

    def _pair(
        self,
        ids: tuple[list[int], list[int]],
        spans: tuple[list[Span], list[Span]] | None,
        limit: int | None,
    ) -> Encoding:
        first, second = len(ids[0]), len(ids[1])
        if limit is not None:
            first, second = truncated_lengths(first, second, limit=limit)
        frame = self.frame
        head = [*frame.pair_start, *ids[0][:first], *frame.middle]
        tail = [*ids[1][:second], *frame.pair_end]
        offsets = None
        if spans is not None:
            offsets = _around(frame.pair_start, spans[0][:first], frame.middle)
            offsets += _around((), spans[1][:second], frame.pair_end)
        return Encoding(head + tail, [0] * len(head) + [frame.second_segment] * len(tail), offsets)

    def _limit(self, max_length: int | None, *, is_pair: bool) -> int | None:
        if max_length is None:
            return None
        limit = max_length - self.frame.size(is_pair=is_pair)
        if limit < 0:
            names = " and ".join(dict.fromkeys(self.vocab.tokens[index] for index in sorted(self.frame.ids())))
            raise UsageError(f"max_length {max_length} leaves no room for {names}")
        return limit

    def _special_ids(self) -> frozenset[int | None]:
        frame = (self.pad_token_id, self.unk_token_id, self.cls_token_id, self.sep_token_id)
        return frozenset((*frame, self.mask_token_id))

    def _token(self, index: int) -> str:
        if not 0 <= index < len(self.vocab):
            raise InputError(f"id {index} is outside the vocabulary of {len(self.vocab):,} entries")
        return self.vocab.tokens[index]


def _around(before: Sequence[int], spans: list[Span], after: Sequence[int]) -> list[Span]:
    return [_SPECIAL_SPAN] * len(before) + spans + [_SPECIAL_SPAN] * len(after)


def _blocks(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Consecutive parts of `texts`, each with the index of its first text."""
    first = size = 0
    for index, text in enumerate(texts):
        size += len(text)
        if size > _BLOCK:
            yield first, texts[first : index + 1]
            first, size = index + 1, 0
    if first < len(texts):
        yield first, texts[first:]


def _surrogate_error(texts: Sequence[str], first: int) -> InputError:
    for index, text in enumerate(texts):
        for position, character in enumerate(text):
            if "\ud800" <= character <= "\udfff":
                code = f"U+{ord(character):04X}"
                return InputError(
                    f"text {first + index} holds the lone surrogate {code} at character {position}",
                    hint="half of a character is no text: repair the row: it was split inside a character",
                )
    raise AssertionError("an encoding error without a surrogate")
