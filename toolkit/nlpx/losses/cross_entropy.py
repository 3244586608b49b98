"""Cross entropy over class logits: each row belongs to exactly one class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def classification_loss(logits: Tensor, batch: dict[str, Any]) -> Tensor:
    """Mean negative log-likelihood of `batch["labels"]`, in nats.

    logits: (B, C) in any float type; labels: (B,) int64 in [0, C). Returns a 0-d float32 tensor.
    """
    from torch.nn import functional

    # Autocast on a CPU would leave the logarithm in bfloat16, whose three digits hide small differences.
    return functional.cross_entropy(logits.float(), batch["labels"])
