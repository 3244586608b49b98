"""Cross entropy that climbs F1: what a class weighs follows from its F1 so far (kexue.fm/archives/7708).

    loss = -mean over classes and rows of y (1 - F / 2) log p + (1 - y) (F / 2) log(1 - p)
    F = 2 sum of p y / sum of (p + y)

The gradient of the smooth F1 itself vanishes where p is near 0 or 1; this has its weights and cross entropy's strength.
F is a constant here, of each class against the rest, and comes from the batches before this one: of one batch alone it
is noise. Its average is part of the state of a run; of several processes each has its own, the first one's is saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("logits",)
TARGETS = "classes"
SOURCE = "kexue.fm/archives/7708"


class Config(Section):
    """Over how many rows F1 is taken."""

    window: PositiveInt = Field(100, description="batches in the average of what F1 is made of")


class Loss:
    """Mean over rows and classes, in nats. Before the first batch every F1 counts as that of the batch."""

    def __init__(self, config: Config, _: LossFacts | None = None) -> None:
        self.window = config.window
        self.both: Tensor | None = None  # (C,), average of 2 sum of p y
        self.either: Tensor | None = None  # (C,), average of the sum of p + y

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (B, C) in any float type, `batch["labels"]` (B,) int64 in [0, C) -> 0-d float32."""
        from torch.nn import functional

        log_p = outputs["logits"].float().log_softmax(-1).clamp(max=-1e-7)  # (B, C)
        y = functional.one_hot(batch["labels"], log_p.shape[-1]).to(log_p.dtype)  # (B, C)
        half = self._f1(log_p.detach().exp(), y) / 2  # (C,)
        log_rest = (-log_p.expm1()).log()  # (B, C), log(1 - p)
        return -(y * (1 - half) * log_p + (1 - y) * half * log_rest).mean()

    def state_dict(self) -> dict[str, Any]:
        """The averages."""
        return {"both": self.both, "either": self.either}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with saved averages."""
        self.both, self.either = state["both"], state["either"]

    def _f1(self, p: Tensor, y: Tensor) -> Tensor:
        """F1 of each class (C,) before this batch, which then enters the averages."""
        import torch

        both, either = 2 * (p * y).sum(0), (p + y).sum(0)  # (C,) each
        if self.both is None or self.either is None:
            self.both, self.either = both, either
            return both / either.clamp(min=1e-8)
        old_both, old_either = self.both.to(p.device), self.either.to(p.device)  # a loaded one lies on the CPU
        if torch.is_grad_enabled():
            self.both, self.either = old_both.lerp(both, 1 / self.window), old_either.lerp(either, 1 / self.window)
        return old_both / old_either.clamp(min=1e-8)
