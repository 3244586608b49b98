"""What a tokenizer returns for one text or one pair of texts, and the special tokens around them."""

from __future__ import annotations

from dataclasses import dataclass

Span = tuple[int, int]


@dataclass(slots=True)
class Encoding:
    """Ids of one row: `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, or as the model's own tokenizer frames them.

    `token_ids` and `segment_ids` (0 for the first text, 1 for the second; 0 for both where the model knows no
    segments, as RoBERTa) have the same length T. `offsets`,
    on request, holds T half-open (start, end) character spans of the *original* text that each token came
    from (of the second text where the segment is 1); special tokens have (0, 0).
    """

    token_ids: list[int]
    segment_ids: list[int]
    offsets: list[Span] | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """Ids that go around one text, `start a end`, and around two, `pair_start a middle b pair_end`.

    `second_segment` is the segment of the second text and of what follows it: 1 for BERT, 0 for RoBERTa, whose pairs
    (`<s> a </s></s> b </s>`) have no segments.
    """

    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    pair_start: tuple[int, ...] = ()
    middle: tuple[int, ...] = ()
    pair_end: tuple[int, ...] = ()
    second_segment: int = 1

    @classmethod
    def of_bert(cls, cls_token_id: int | None, sep_token_id: int | None) -> Frame:
        """`[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]`; an absent one is left out."""
        start = () if cls_token_id is None else (cls_token_id,)
        end = () if sep_token_id is None else (sep_token_id,)
        return cls(start, end, start, end, end)

    def size(self, *, is_pair: bool) -> int:
        """How many tokens it adds."""
        if is_pair:
            return len(self.pair_start) + len(self.middle) + len(self.pair_end)
        return len(self.start) + len(self.end)

    def ids(self) -> frozenset[int]:
        """All that occur in it."""
        return frozenset((*self.start, *self.end, *self.pair_start, *self.middle, *self.pair_end))
