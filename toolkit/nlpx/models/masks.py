"""Which position may attend to which. Masks are boolean, True = visible, and become an additive bias once a call."""

from __future__ import annotations

import torch
from torch import Tensor

from nlpx.errors import UsageError

# The lowest number that bfloat16 has too: float32's own would become -inf where the scores are bfloat16.
LOWEST = torch.finfo(torch.bfloat16).min


def visible(
    mask: str | Tensor,
    attention_mask: Tensor | None,
    segment_ids: Tensor | None,
    length: int,
    device: torch.device,
) -> Tensor | None:
    """Visibility (B or 1, 1, T or 1, T), or None if every position sees every other.

    `mask` is `bidirectional`, `causal`, `unilm`, or a boolean tensor (B, T, T) or (T, T).
    `attention_mask` (B, T) hides padding as a key. Raises `UsageError` for an unknown name.
    """
    pattern = _pattern(mask, segment_ids, length, device)
    if attention_mask is None:
        return pattern
    keys = attention_mask.to(torch.bool)[:, None, None, :]  # (B, 1, 1, T): a key is hidden from every query alike
    return keys if pattern is None else pattern & keys


def _pattern(mask: str | Tensor, segment_ids: Tensor | None, length: int, device: torch.device) -> Tensor | None:
    if isinstance(mask, Tensor):
        given = mask.to(torch.bool)
        return given[None, None] if given.dim() == 2 else given[:, None]  # (1, 1, T, T) or (B, 1, T, T)
    if mask == "bidirectional":
        return None
    if mask == "causal":
        return torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]  # (1, 1, T, T)
    if mask == "unilm":
        if segment_ids is None:
            raise UsageError("mask `unilm` needs segment_ids: 0 for the source, 1 for the target")
        return unilm(segment_ids)[:, None]
    raise UsageError(f"unknown mask `{mask}`", hint="masks: bidirectional, causal, unilm, or a boolean tensor")


def unilm(segment_ids: Tensor) -> Tensor:
    """UniLM visibility (B, T, T): position i sees j iff cumsum(segment)[j] <= cumsum(segment)[i].

    The source (segment 0) is bidirectional and never sees the target, which is causal (arXiv 1905.03197).
    """
    # The sum stays 0 over the source and counts 1, 2, 3, ... over the target. Comparing it therefore lets all of the
    # source see each other, and every target token see the source and the target up to itself.
    order = segment_ids.cumsum(dim=1)  # (B, T)
    return order[:, None, :] <= order[:, :, None]  # (B, T, T): [b, i, j]


def additive(visibility: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The bias on the scores: 0 where visible, the lowest finite number elsewhere."""
    if visibility is None:
        return None
    # Not -inf: the softmax of a query that sees no key at all (padding) would be 0 / 0. With a finite number it is
    # uniform, which no real query reads. Beside any visible key exp() of it is exactly 0.
    bias = torch.zeros(visibility.shape, dtype=dtype, device=visibility.device)
    return bias.masked_fill(~visibility, LOWEST)


def num_visible(visibility: Tensor | None, num_keys: int, device: torch.device) -> Tensor:
    """How many keys each query sees, (B or 1, 1, T or 1, 1); all `num_keys` without a mask."""
    if visibility is None:
        return torch.full((1, 1, 1, 1), num_keys, device=device)
    return visibility.sum(dim=-1, keepdim=True)


def sums_only(mask: str | Tensor, attention_mask: Tensor | None) -> tuple[bool, Tensor | None]:
    """What attention by sums over keys (performer) can follow: whether it is causal, and the real keys (B, T).

    Raises `UsageError` for every other mask: a sum over keys serves all queries, or all queries from one key on.
    """
    if isinstance(mask, Tensor) or mask not in ("bidirectional", "causal"):
        named = "a mask given as a tensor" if isinstance(mask, Tensor) else f"mask `{mask}`"
        raise UsageError(
            f"attention `performer` cannot follow {named}, only `bidirectional` and `causal`",
            hint="load the model with attention=softmax",
        )
    return mask == "causal", None if attention_mask is None else attention_mask.to(torch.bool)


def num_visible_in_sums(length: int, keys: Tensor | None, *, causal: bool, device: torch.device) -> Tensor:
    """`num_visible` of the masks that `sums_only` allows, without a (T, T) pattern."""
    real = torch.ones(1, length, dtype=torch.long, device=device) if keys is None else keys.long()  # (1 or B, T)
    counts = real.cumsum(dim=1) if causal else real.sum(dim=1, keepdim=True)  # T or 1 counts a row
    return counts[:, None, :, None]
