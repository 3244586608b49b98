"""How a pair of texts shares a limited length."""

from __future__ import annotations


def truncated_lengths(first: int, second: int, *, limit: int) -> tuple[int, int]:
    """Lengths of both texts after taking tokens off the end of the longer one until `limit` are left.

    On equal lengths the first text gives, as in bert4keras' `truncate_sequences`. The loop ends either with
    one text untouched or with both as equal as `limit` allows, hence the closed form.
    """
    if first + second <= limit:
        return first, second
    kept = max(min(first, limit // 2), limit - second)
    return kept, limit - kept
