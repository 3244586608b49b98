"""The special tokens around a text and around a pair of texts."""

from __future__ import annotations

from dataclasses import dataclass


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
