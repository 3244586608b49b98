"""CoSENT: pairs that are more alike get the larger cosine (Su Jianlin, kexue.fm/archives/8847).

    loss = log(1 + sum over i, j with y_i > y_j of e^(scale (cos_j - cos_i)))

Only the order of the numbers y counts, so they may be 0 and 1, or grades. It is a loss of a whole batch, no mean over
its rows: with `train.accumulation` pairs of different batches are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveFloat

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("cosines",)
TARGETS = "numbers"
SOURCE = "kexue.fm/archives/8847"


class Config(Section):
    """How sharp the comparison is."""

    scale: PositiveFloat = Field(20.0, description="on differences of cosines")


class Loss:
    """0 where no two rows differ in what they say."""

    def __init__(self, config: Config, _: LossFacts | None = None) -> None:
        self.scale = config.scale

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["cosines"]` (B,) in any float type, `batch["labels"]` (B,) numbers -> 0-d float32."""
        from torch.nn import functional

        cosines, wanted = self.scale * outputs["cosines"].float(), batch["labels"]  # (B,) each
        gaps = cosines[None, :] - cosines[:, None]  # (B, B): of column j over row i
        wrong = gaps[wanted[:, None] > wanted[None, :]]  # (P,), i is to be above j
        return functional.pad(wrong, (1, 0)).logsumexp(0)
