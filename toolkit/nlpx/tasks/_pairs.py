"""The two arrangements of a pair: both texts in one sequence, or each read by itself and then compared.

Joint is what large published checkpoints learn best from (Su Jianlin's, kexue.fm/archives/8337). It has to learn to
compare; a small model does not from a few thousand pairs, where towers start from vectors that compare already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from nlpx.tasks import EncodedRows
from nlpx.tokenizers.padding import padded

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.tokenizers.base import Tokenizer

ArrangementName = Literal["joint", "towers"]


class Sequences(NamedTuple):
    """A pair as ids: of both texts in one sequence, or of each."""

    first: list[int]
    second: list[int]  # empty if `first` holds both
    second_start: int  # where segment 1 begins in `first`


class Arrangement(Protocol):
    """How pairs become the rows of a model's call."""

    head: str  # of the model
    sequences: int  # of a pair in one call

    def encode(
        self, firsts: Sequence[str], seconds: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> EncodedRows:
        """Pairs as `Sequences`, each sequence truncated to `max_length` tokens."""
        ...

    def tensors(self, pairs: Sequence[Sequences], pad_token_id: int) -> dict[str, Any]:
        """token_ids, segment_ids, attention_mask (B * sequences, T)."""
        ...


class Joint:
    """[CLS] first [SEP] second [SEP], the longer text truncated until both fit."""

    head = "classification"
    sequences = 1

    def encode(
        self, firsts: Sequence[str], seconds: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> EncodedRows:
        """One sequence a pair."""
        encodings = tokenizer.encode_batch(firsts, seconds, max_length=max_length)
        items = [
            Sequences(encoding.token_ids, [], len(encoding.token_ids) - sum(encoding.segment_ids))
            for encoding in encodings
        ]
        return EncodedRows(items, [len(item.first) for item in items])

    def tensors(self, pairs: Sequence[Sequences], pad_token_id: int) -> dict[str, Any]:
        """(B, T)."""
        return _tensors([pair.first for pair in pairs], [pair.second_start for pair in pairs], pad_token_id)


class Towers:
    """[CLS] first [SEP] and [CLS] second [SEP]: in a batch all first texts, then all second ones."""

    head = "pair"
    sequences = 2

    def encode(
        self, firsts: Sequence[str], seconds: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> EncodedRows:
        """Two sequences a pair; its length is that of both in a batch of pairs like it."""
        encodings = [tokenizer.encode_batch(texts, max_length=max_length) for texts in (firsts, seconds)]
        items = [
            Sequences(first.token_ids, second.token_ids, len(first.token_ids))
            for first, second in zip(*encodings, strict=True)
        ]
        longest = [max(len(item.first), len(item.second)) for item in items]
        return EncodedRows(items, [2 * length for length in longest], sequence_lengths=longest)

    def tensors(self, pairs: Sequence[Sequences], pad_token_id: int) -> dict[str, Any]:
        """(2B, T)."""
        rows = [pair.first for pair in pairs] + [pair.second for pair in pairs]
        return _tensors(rows, [len(row) for row in rows], pad_token_id)


ARRANGEMENTS: dict[str, Arrangement] = {"joint": Joint(), "towers": Towers()}


def _tensors(rows: Sequence[list[int]], second_starts: Sequence[int], pad_token_id: int) -> dict[str, Tensor]:
    import torch

    return {name: torch.from_numpy(array) for name, array in padded(rows, second_starts, pad_token_id).items()}
