"""From the hidden states of a text to one vector, in the ways that sentence similarity is compared by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Pooling = Literal["first-last-avg", "mean", "cls", "last", "pooler"]

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


@dataclass(frozen=True, slots=True)
class States:
    """What one forward pass leaves for pooling. All positions count, [CLS] and [SEP] too; padding never does."""

    first: Tensor  # (B, T, D), output of the first block
    last: Tensor  # (B, T, D), output of the last block
    attention_mask: Tensor | None  # (B, T), 1 for real tokens; None where there is no padding
    pooled: Tensor | None = None  # (B, D), the first token of `last` through the pooler's linear map


def compared(*, is_causal: bool, has_pooler: bool) -> tuple[Pooling, ...]:
    """The poolings that say something of a model: the first token of one that reads left to right has seen nothing."""
    if is_causal:
        return ("first-last-avg", "mean", "last")
    return ("first-last-avg", "mean", "cls", "pooler") if has_pooler else ("first-last-avg", "mean", "cls")


def pool(states: States, pooling: Pooling) -> Tensor:
    """One float32 vector a text, (B, D).

    `first-last-avg` is the mean of the token means of both blocks, `mean` that of the last, `cls` its first token, and
    `pooler` the linear map of that, without the tanh: P4, P3, P1 and P2 of Su Jianlin's comparison
    (kexue.fm/archives/8321). `last` is the last real token of the last block, on whichever side the padding is: the
    only one that has seen the whole text where a model reads from left to right. `pooler` needs `states.pooled`.
    """
    if pooling == "cls":
        return states.last[:, 0].float()
    if pooling == "last":
        return last_token(states.last, states.attention_mask).float()
    if pooling == "pooler":
        assert states.pooled is not None, "refused when the model was loaded"
        return states.pooled.float()
    last = token_mean(states.last, states.attention_mask)
    if pooling == "mean":
        return last
    return (token_mean(states.first, states.attention_mask) + last) / 2


def last_token(hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The last real token of each row: (B, T, D), mask (B, T) or None -> (B, D)."""
    if attention_mask is None:
        return hidden_states[:, -1]
    length = attention_mask.shape[1]
    places = length - 1 - attention_mask.flip(1).int().argmax(dim=1)  # (B,); of equal values argmax takes the first
    return hidden_states[torch.arange(len(places), device=places.device), places]


def token_mean(hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Mean over the real tokens, summed in float32: (B, T, D), mask (B, T) or None -> (B, D)."""
    if attention_mask is None:
        return hidden_states.float().mean(dim=1)
    weights = attention_mask.float()
    total = (hidden_states.float() * weights[..., None]).sum(dim=1)
    return total / weights.sum(dim=1, keepdim=True)
