"""Encoded rows of different lengths as one rectangle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def padded(
    token_ids: Sequence[Sequence[int]], second_starts: Sequence[int], pad_token_id: int
) -> dict[str, NDArray[Any]]:
    """Return token_ids and segment_ids (int64) and attention_mask (bool, true for real tokens), each (B, T).

    `second_starts` says of each row where segment 1 begins: for a single text, its length.
    """
    import numpy as np

    lengths = np.array([len(row) for row in token_ids])
    columns = np.arange(lengths.max())
    real = columns < lengths[:, None]
    filled = np.full(real.shape, pad_token_id, dtype=np.int64)
    filled[real] = np.concatenate(list(token_ids))
    second = real & (columns >= np.array(second_starts)[:, None])
    return {"token_ids": filled, "segment_ids": second.astype(np.int64), "attention_mask": real}
