"""Cross entropy of several labels without counting pairs (ZLPR: arXiv 2208.02955, kexue.fm/archives/7359).

    loss = log(1 + sum over wrong labels of e^s) + log(1 + sum over right labels of e^-s)

Every right label is pushed above every wrong one and above 0, and the labels with s > 0 are the answer. Nothing has to
balance the few right against the many wrong ones. No sigmoid goes before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.losses import LossFacts

OUTPUTS = ("logits",)
TARGETS = "label_sets"
SOURCE = "arXiv 2208.02955, kexue.fm/archives/7359"


class Config(Section):
    """Nothing to choose."""


class Loss:
    """Mean over the rows, in nats.

    A task whose model has a score of its own for "none of these" gives it as the output `threshold` (B,): it takes the
    place of 0, and the answer is what lies above it.
    """

    def __init__(self, _: Config, __: LossFacts | None = None) -> None:
        pass

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> Tensor:
        """`outputs["logits"]` (B, C) -> 0-d float32.

        `batch["labels"]` (B, C): 1 for a right label, 0 for a wrong one, or a probability between. Or, where most are
        wrong, `batch["label_ids"]` (B, K): the right ones, -1 for none.
        """
        scores, threshold = outputs["logits"].float(), outputs.get("threshold")
        if "label_ids" in batch:
            return sparse(scores, batch["label_ids"], threshold).mean()
        return dense(scores, batch["labels"], threshold).mean()


def dense(scores: Tensor, labels: Tensor, threshold: Tensor | None = None) -> Tensor:
    """The loss of each row (B,), from scores and labels (B, C) in [0, 1], threshold (B,) or None."""
    labels = labels.to(scores.dtype)
    zero = _column(scores, threshold)  # (B, 1)
    # A probability y counts as y of a right and 1 - y of a wrong label; the logarithm of 0 leaves a term out.
    wrong = _with(zero, scores + (1 - labels).log()).logsumexp(-1)  # (B,)
    right = _with(-zero, -scores + labels.log()).logsumexp(-1)  # (B,)
    return wrong + right


def sparse(scores: Tensor, label_ids: Tensor, threshold: Tensor | None = None) -> Tensor:
    """The same from the numbers of the right labels (B, K), -1 for none.

    The wrong ones are all but the right ones, log(all - right): nothing smaller than 1e-7 of the whole is seen.
    """
    import torch

    zero = _column(scores, threshold)  # (B, 1)
    absent = label_ids < 0  # (B, K)
    chosen = scores.gather(1, label_ids.clamp(min=0))  # (B, K)
    right = _with(-zero, (-chosen).masked_fill(absent, -torch.inf)).logsumexp(-1)  # (B,)
    everything = _with(zero, scores).logsumexp(-1)  # (B,)
    of_right = chosen.masked_fill(absent, -torch.inf).logsumexp(-1)  # (B,)
    rest = (1 - (of_right - everything).exp()).clamp(1e-7, 1)  # (B,)
    return everything + rest.log() + right


def _column(scores: Tensor, threshold: Tensor | None) -> Tensor:
    return scores.new_zeros(len(scores), 1) if threshold is None else threshold.float()[:, None]


def _with(column: Tensor, scores: Tensor) -> Tensor:
    import torch

    return torch.cat([column, scores], dim=-1)  # (B, C + 1)
