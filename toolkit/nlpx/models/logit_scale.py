"""The logit scale of attention: 1 / sqrt(d), and a factor per query that grows with the number of visible keys.

Entropy-invariant attention (Su Jianlin, kexue.fm/archives/8823): the entropy of a softmax over n keys grows with log n
unless the scores grow with it, so those of query i are multiplied by log n_i / log 512. A query then stays about as
focused on a long text as it was in training. n_i counts the keys that query i sees: no padding, and in causal models
none that follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nlpx.models.config import ModelConfig


def constant_logit_scale(config: ModelConfig) -> float:
    """The factor on all scores."""
    return 1.0 if config.attention_scale == "none" else config.key_size**-0.5


def entropy_invariant_factor(num_visible: Tensor, *, base: int, floor: int) -> Tensor:
    """log n / log `base` of counts n of any shape, in float32; fewer than `floor` keys count as `floor`.

    Without the floor a query that sees one key would have the factor 0. It is bert4keras' (`softmax_plus`), not in
    the post.
    """
    return num_visible.to(torch.float32).clamp(min=floor).log() / math.log(base)


def logit_scale(config: ModelConfig, count: Callable[[], Tensor]) -> Tensor | None:
    """The factor on each query's scores, of the shape of the visible keys that `count` returns.

    None, without counting, where the scale does not depend on the length.
    """
    if config.attention_scale != "entropy_invariant":
        return None
    return entropy_invariant_factor(count(), base=config.entropy_invariant_base, floor=config.entropy_invariant_floor)
