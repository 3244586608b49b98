"""Layer adaptation, the trust ratio of LAMB (arXiv 1904.00962): each tensor moves by its own norm times the rate.

dx <- dx * |theta| / |dx / rate|, the ratio 1 where either norm is 0; |dx| = rate * |theta| afterwards. The rule of
bert4keras' `extend_with_layer_adaptation`, which divides by a rate of at least 1e-7: below that rate a tensor moves by
1e-7 * |theta|, and at a rate of 0 not at all. LAMB is this around `adamw`,
whose decay then lies inside the ratio.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pydantic import Field

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.optim.derived import Proposal

SMALLEST_RATE = 1e-7  # bert4keras' floor, so that a rate of 0 divides nothing by 0

SOURCE = "arXiv 1904.00962"
COST = "no fused kernel"


class Config(Section):
    """Which parameters keep the change as it was proposed."""

    exclude: tuple[str, ...] = Field(
        default=("*norm*", "*bias"), description="shell patterns over parameter names, in any case; []: adapt all"
    )


class Wrapper:
    """Scales the change of every tensor whose name is not excluded."""

    def __init__(self, config: Config) -> None:
        self.patterns = [pattern.lower() for pattern in config.exclude]

    def __call__(self, proposal: Proposal) -> None:
        """Multiply each change by its ratio; norms are those of whole tensors, sharded or not."""
        import torch

        adapted = [index for index, name in enumerate(proposal.names) if not self._spares(name)]
        if not adapted:
            return
        changes = [proposal.changes[index] for index in adapted]
        weights = _lengths([proposal.parameters[index] for index in adapted])
        steps = _lengths(changes) / max(proposal.rate, SMALLEST_RATE)
        ratios = torch.where((weights > 0) & (steps > 0), weights / steps, 1.0)
        torch._foreach_mul_(changes, list(ratios.unbind()))

    def _spares(self, name: str) -> bool:
        return any(fnmatchcase(name.lower(), pattern) for pattern in self.patterns)


def _lengths(tensors: list[Tensor]) -> Tensor:
    import torch

    lengths = torch.stack(list(torch._foreach_norm(tensors)))
    # Of sharded tensors this is each process's contribution.
    return lengths.full_tensor() if hasattr(lengths, "full_tensor") else lengths
