"""Distillation of similarities: the student's cosines within a batch become the teacher's.

With the teacher's vectors u and the student's v, square_weight / B^2 * sum_ij (cos(u_i, u_j) - cos(v_i, v_j))^2 is the
second stage of RoFormer-Sim (Su Jianlin, kexue.fm/archives/8454). Only angles are learned, so the two may have
different sizes, and a rotation of the teacher changes nothing. Squares are dominated by the many pairs that have
nothing in common; a divergence between the softmaxes of the rows, at a low temperature, looks at the nearest ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("vectors",)
TARGETS = "vectors"
SOURCE = "kexue.fm/archives/8454"


class Config(Section):
    """How much each of the two parts counts."""

    square_weight: float = Field(
        100.0, ge=0, description="of the squared differences of the cosines; 100: RoFormer-Sim's"
    )
    divergence_weight: float = Field(1.0, ge=0, description="of the divergence between the rows' softmaxes; 0: none")
    temperature: float = Field(0.05, gt=0, description="of those softmaxes")


class Loss:
    """Squared differences of cosines, and the divergence of the student's rows from the teacher's, in nats."""

    def __init__(self, config: Config, _: LossFacts | None = None) -> None:
        self.config = config

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["vectors"]` (B, D), `batch["targets"]` (B, K), any lengths above 0 -> 0-d float32."""
        student, teacher = _cosines(outputs["vectors"]), _cosines(batch["targets"])  # (B, B) each
        loss = self.config.square_weight * (student - teacher).square().mean()
        if self.config.divergence_weight and len(student) > 1:
            divergence = _divergence(student / self.config.temperature, teacher / self.config.temperature)
            loss = loss + self.config.divergence_weight * divergence
        return loss


def _cosines(vectors: Tensor) -> Tensor:
    """(B, D) -> (B, B), in float32: bfloat16 would keep two digits of a cosine."""
    import torch
    from torch.nn import functional

    with torch.autocast(vectors.device.type, enabled=False):
        unit = functional.normalize(vectors.float(), dim=-1)  # (B, D)
        return unit @ unit.T


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the rows of KL(teacher || student), where no text is compared with itself; logits (B, B) -> 0-d."""
    import torch
    from torch.nn import functional

    itself = torch.eye(len(student), dtype=torch.bool, device=student.device)
    ours, theirs = (scores.masked_fill(itself, -torch.inf).log_softmax(-1)[~itself] for scores in (student, teacher))
    return functional.kl_div(ours, theirs, reduction="sum", log_target=True) / len(student)
