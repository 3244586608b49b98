"""Muon: the hidden matrices move by orthogonalised momentum, all else by AdamW (torch's own two optimizers).

A momentum is replaced by the nearest matrix with equal singular values, by five Newton-Schulz iterations (Keller
Jordan, kellerjordan.github.io/posts/muon). Word and position tables, heads, norms and biases are no maps between
hidden states: they take AdamW. `optim.learning_rate` is AdamW's; the hidden matrices move at a multiple of it.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from nlpx.configuration.section import Section
from nlpx.optim.adamw import FUSED_DEVICES, Beta

if TYPE_CHECKING:
    import torch

SOURCE = "kellerjordan.github.io/posts/muon"
COST = "one copy of the matrices, two of the rest; a tenth of a small model's step"


class Config(Section):
    """What only Muon has."""

    learning_rate_scale: PositiveFloat = Field(
        default=10.0, description="rate of the hidden matrices over `optim.learning_rate`, which is AdamW's"
    )
    momentum: Beta = Field(default=0.95, description="decay of the momentum of the hidden matrices")
    nesterov: bool = Field(default=True, description="look one step of the momentum ahead")
    iterations: PositiveInt = Field(default=5, lt=100, description="Newton-Schulz iterations of an update")
    adjustment: Literal["original", "match_rms_adamw"] = Field(
        default="original", description="scale of an update by its shape, as torch.optim.Muon names them"
    )
    exclude: tuple[str, ...] = Field(
        default=("*embedding*", "*head*", "*classifier*"),
        description="shell patterns over names, in any case: matrices that take AdamW",
    )
    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.98), description="AdamW's decays of its two moments")
    epsilon: PositiveFloat = Field(default=1e-6, description="AdamW's, added outside the root")


def build(groups: list[dict[str, Any]], config: Config) -> torch.optim.Optimizer:
    """Muon and AdamW over parameter groups that carry `lr`, `weight_decay` and named `params`."""
    import torch

    class Muon(torch.optim.Optimizer):
        """Two optimizers over one list of groups and one state, so that saving and scheduling see a single one."""

        def __init__(self) -> None:
            self.hidden = {
                id(parameter) for group in groups for name, parameter in group["params"] if _is_hidden(name, parameter)
            }
            parameters = [parameter for group in groups for _, parameter in group["params"]]
            fused = {parameter.device.type for parameter in parameters} <= FUSED_DEVICES
            some = [torch.nn.Parameter(torch.zeros(1, 1))]  # neither takes an empty list; the groups are given by step
            self.muon = torch.optim.Muon(
                some,
                momentum=config.momentum,
                nesterov=config.nesterov,
                ns_steps=config.iterations,
                adjust_lr_fn=config.adjustment,
            )
            self.adamw = torch.optim.AdamW(some, betas=config.betas, eps=config.epsilon, fused=fused)
            super().__init__(groups, {})

        @torch.no_grad()
        def step(self, closure: Callable[[], Any] | None = None) -> Any:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            for inner, is_hidden, scale in ((self.muon, True, config.learning_rate_scale), (self.adamw, False, 1.0)):
                inner.state = self.state
                inner.param_groups = [
                    inner.defaults | group | {"params": members, "lr": group["lr"] * scale}
                    for group in self.param_groups
                    if (members := [p for p in group["params"] if (id(p) in self.hidden) is is_hidden])
                ]
                inner.step()  # type: ignore[no-untyped-call]  # torch's
            return loss

    def _is_hidden(name: str, parameter: torch.Tensor) -> bool:
        return parameter.ndim == 2 and not any(fnmatchcase(name.lower(), pattern.lower()) for pattern in config.exclude)

    return Muon()
