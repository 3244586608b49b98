"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, 2017), fused where torch has a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveFloat

from nlpx.section import Section

if TYPE_CHECKING:
    import torch

# Where torch has a fused kernel; elsewhere it refuses the flag.
FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})

Beta = Annotated[float, Field(ge=0, lt=1)]


class Config(Section):
    """What only AdamW has."""

    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.999), description="decay of the first and the second moment")
    epsilon: PositiveFloat = Field(default=1e-6, description="added outside the root, as BERT's own optimizer does")


def build(groups: list[dict[str, Any]], config: Config) -> torch.optim.Optimizer:
    """An AdamW over parameter groups that carry `lr` and `weight_decay` (`nlpx.optim.groups`)."""
    import torch

    devices = {parameter.device.type for group in groups for _, parameter in group["params"]}
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.epsilon, fused=devices <= FUSED_DEVICES)
