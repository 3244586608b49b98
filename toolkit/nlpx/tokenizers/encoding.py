"""What a tokenizer returns for one text or one pair of texts."""

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
