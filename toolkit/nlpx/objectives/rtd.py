"""Replaced token detection: predict which tokens a small generator has put there (ELECTRA, arXiv 2003.10555)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from nlpx.configuration.section import Section

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from nlpx.data.batches.masking import SpecialIds
    from nlpx.data.batches.packing import PackedRow
    from nlpx.objectives import ObjectiveOutput, RowFacts


class Config(Section):
    """How much is replaced, by whom, and what it counts."""

    weight: float = Field(1.0, ge=0, description="share of the updates; this objective is never mixed, so any")
    rate: float = Field(0.15, gt=0, lt=1, description="share of the words that the generator fills in")
    discriminator_weight: float = Field(50.0, gt=0, description="of its loss, beside the generator's")
    generator: str | None = Field(
        None, description="a checkpoint, or `new`; null: what lies beside the discriminator, else new"
    )
    generator_fraction: float = Field(
        0.25, gt=0, le=1, description="width of a new one beside the discriminator's; at base size 1/3"
    )
    temperature: float = Field(1.0, ge=0, description="of the generator's choices; 0 takes the likeliest")
    tied: tuple[Literal["word", "position", "type"], ...] = Field(
        ("word", "position", "type"), description="embedding tables that both models share"
    )


class Objective:
    """Generator and discriminator in one pass: cross entropy where words were hidden, a yes or no at every token.

    The targets are all tokens but padding, [CLS] and [SEP] among them; the hidden ones are the minor targets.
    """

    HEADS = ("discriminator",)
    OUTPUTS = ("generator_logits", "discriminator_logits", "is_replaced")
    ACCURACY = "explained share of what is replaced"
    COLUMNS = (
        "objective", "loss", "explained", "f1", "precision", "recall", "accuracy", "replaced", "generator_accuracy",
        "targets",
    )  # fmt: skip

    def __init__(self, config: Config, special: SpecialIds, facts: RowFacts | None = None) -> None:
        self.config, self.special = config, special

    def batch(self, rows: Sequence[PackedRow], generators: Sequence[Generator]) -> dict[str, Any]:
        """The rows, and with [MASK] at hidden words `masked_ids`; `uniform` (N,) decides what is filled in there.

        `lm_positions` and `targets` (N,) say where and what they were, `is_judged` (B, T) what is not padding.
        """
        import numpy as np
        import torch

        from nlpx.data.batches.masking import mask_words
        from nlpx.objectives._packed import OUTSIDE, hidden_targets, inputs, padded

        fractions = {"rate": self.config.rate, "mask_fraction": 1.0, "random_fraction": 0.0}
        hidden = [
            mask_words(row, random, self.special, **fractions) for row, random in zip(rows, generators, strict=True)
        ]
        draws = [random.random(len(where)) for (_, where), random in zip(hidden, generators, strict=True)]
        documents = padded([row.document_ids for row in rows], fill=OUTSIDE)
        batch = inputs([row.token_ids for row in rows], documents, pad=self.special.pad)
        batch |= hidden_targets(rows, [where for _, where in hidden], width=documents.shape[1])
        is_judged = documents != OUTSIDE
        return batch | {
            "masked_ids": torch.from_numpy(padded([ids for ids, _ in hidden], fill=self.special.pad)),
            "uniform": torch.from_numpy(np.concatenate(draws).astype(np.float32)),
            "is_judged": torch.from_numpy(is_judged),
            "num_targets": int(is_judged.sum()),
            "num_minor_targets": len(batch["targets"]),
        }

    def __call__(self, model: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        """The generator's mean loss and `discriminator_weight` times the discriminator's, in nats.

        `model` is a `ReplacedTokenModel`; `outputs` holds its logits, `is_replaced`, and both losses as sums.
        """
        from nlpx.objectives import ObjectiveOutput
        from nlpx.objectives._packed import masking_arguments

        found = model(
            batch["token_ids"],
            batch["masked_ids"],
            batch["lm_positions"],
            batch["uniform"],
            temperature=self.config.temperature,
            **masking_arguments(model, batch, mask="bidirectional"),
        )
        sums = loss_sums(found.generator_logits, found.discriminator_logits, found.is_replaced, batch)
        num_targets, num_hidden = batch["num_targets"], batch["num_minor_targets"]
        # The loop knows the counts of the whole update; on its own a batch has its own.
        minor_weight = batch.get("minor_weight", num_targets / max(num_hidden, 1))
        total = minor_weight * sums["generator_loss"] + self.config.discriminator_weight * sums["discriminator_loss"]
        outputs = {name: getattr(found, name) for name in ("generator_logits", "discriminator_logits", "is_replaced")}
        return ObjectiveOutput(total / max(num_targets, 1), outputs | sums)

    def tally(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, float]:
        """What `figures` needs of one batch; the tallies of several add up."""
        found, replaced = outputs["discriminator_logits"] > 0, outputs["is_replaced"]
        first_choices = outputs["generator_logits"].argmax(dim=-1)
        judged = batch["is_judged"]
        return {
            "targets": batch["num_targets"],
            "hidden": batch["num_minor_targets"],
            "generator_loss": float(outputs["generator_loss"].detach()),
            "discriminator_loss": float(outputs["discriminator_loss"].detach()),
            "generator_correct": int((first_choices == batch["targets"]).sum()),
            "replaced": int((replaced & judged).sum()),
            "found": int((found & judged).sum()),
            "both": int((found & replaced & judged).sum()),
        }

    def figures(self, tallies: Mapping[str, float]) -> dict[str, Any]:
        """Losses and rates of what was tallied; a rate of nothing is 0.

        `explained` is the fraction of the uncertainty that the discriminator takes away: 0 for one that knows only how
        many tokens are replaced, 1 for one that is always sure and right. `precision`, `recall` and `f1` are of the
        tokens that are replaced, `replaced` is their share, and `accuracy` that of all right answers, which
        1 - `replaced` reaches without having learned anything.
        """
        count, hidden = max(tallies["targets"], 1), max(tallies["hidden"], 1)
        replaced, found, both = (tallies[name] for name in ("replaced", "found", "both"))
        generator_loss, discriminator_loss = tallies["generator_loss"] / hidden, tallies["discriminator_loss"] / count
        return {
            "loss": generator_loss + self.config.discriminator_weight * discriminator_loss,
            "generator_loss": generator_loss,
            "discriminator_loss": discriminator_loss,
            "explained": _explained(discriminator_loss, replaced / count),
            "f1": 2 * both / max(replaced + found, 1),
            "precision": both / max(found, 1),
            "recall": both / max(replaced, 1),
            "accuracy": 1 - (replaced + found - 2 * both) / count,
            "replaced": replaced / count,
            "generator_accuracy": tallies["generator_correct"] / hidden,
            "targets": int(tallies["targets"]),
        }

    def score(self, figures: Mapping[str, Any]) -> float:
        """What runs are compared by. F1 would not do: at a fixed threshold it can fall while the loss still falls."""
        return float(figures["explained"])


def _explained(loss: float, share: float) -> float:
    """1 - loss / entropy of a yes or no with this share of yes; 0 where there is nothing to know."""
    entropy = -sum(part * math.log(part) for part in (share, 1 - share) if part > 0)
    return 1 - loss / entropy if entropy else 0.0


def loss_sums(
    generator_logits: Tensor, discriminator_logits: Tensor, is_replaced: Tensor, batch: dict[str, Any]
) -> dict[str, Tensor]:
    """`generator_loss` over hidden tokens and `discriminator_loss` over all but padding: sums, 0-d float32."""
    from torch.nn import functional

    each = functional.binary_cross_entropy_with_logits(
        discriminator_logits.float(), is_replaced.float(), reduction="none"
    )
    return {
        "generator_loss": functional.cross_entropy(generator_logits.float(), batch["targets"], reduction="sum"),
        "discriminator_loss": (each * batch["is_judged"]).sum(),
    }
