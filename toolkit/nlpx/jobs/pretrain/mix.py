"""Several objectives in one run: which of them an update follows, and the batches it makes of packed rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nlpx.configuration import registry
from nlpx.errors import UsageError

if TYPE_CHECKING:
    from nlpx.configuration.section import Section
    from nlpx.data.batches.masking import SpecialIds
    from nlpx.data.batches.packing import PackedRows
    from nlpx.objectives import ObjectiveOutput, RowFacts
    from nlpx.tokenizers.base import Tokenizer

ENDS, CLOSING = "。！？!?；;…", "”’」』》）)\"'"
CHOICE = 0x6D6978  # keeps the draws of the mix apart from other uses of the same seed


class Mix:
    """Objectives by name; those of weight 0 are left out.

    Every draw depends on the seed, the step and the row alone: all processes agree, and a resumed run repeats nothing.
    """

    def __init__(self, settings: Mapping[str, Section], special: SpecialIds, facts: RowFacts, *, seed: int) -> None:
        chosen = {name: config for name, config in settings.items() if config.weight > 0}  # type: ignore[attr-defined]
        self.objectives: dict[str, Any] = {
            name: registry.load("objectives", name).Objective(config, special, facts) for name, config in chosen.items()
        }
        total = sum(config.weight for config in chosen.values())  # type: ignore[attr-defined]
        self.fractions = [config.weight / total for config in chosen.values()]  # type: ignore[attr-defined]
        self.seed = seed

    @property
    def outputs(self) -> tuple[str, ...]:
        """What every one of the objectives can give beside its loss."""
        first, *others = (objective.OUTPUTS for objective in self.objectives.values())
        return tuple(name for name in first if all(name in other for other in others))

    def keep(self, outputs: Collection[str]) -> None:
        """Give these outputs in training too."""
        if "logits" in outputs:
            for objective in self.objectives.values():
                objective.keep_logits = True

    def name_at(self, step: int) -> str:
        """The objective of an update, drawn by weight."""
        import numpy as np

        random = np.random.default_rng([self.seed, CHOICE, step])
        return str(random.choice(list(self.objectives), p=self.fractions))

    def batch(
        self, rows: PackedRows, indices: Sequence[int], *, name: str, epoch: int, purpose: str = ""
    ) -> dict[str, Any]:
        """A batch of these rows for one objective; `purpose` keeps draws apart, such as those of an evaluation."""
        from nlpx.data.batches.masking import row_generator

        generators = [row_generator(self.seed, epoch, index, purpose + name) for index in indices]
        batch: dict[str, Any] = self.objectives[name].batch([rows.row(index) for index in indices], generators)
        return batch | {"objective": name}

    def __call__(self, model: Any, batch: dict[str, Any]) -> ObjectiveOutput:
        """The loss of a batch, by the objective it was made for."""
        loss: ObjectiveOutput = self.objectives[batch["objective"]](model, batch)
        return loss


def row_facts(tokenizer: Tokenizer, *, max_length: int) -> RowFacts:
    """Facts about rows of this tokenizer that objectives may use."""
    from nlpx.objectives import RowFacts

    known = tokenizer.vocab.ids
    ends, closing = (frozenset(known[mark] for mark in marks if mark in known) for marks in (ENDS, CLOSING))
    return RowFacts(max_length, ends, closing)


def heads(settings: Mapping[str, Section]) -> tuple[str, ...]:
    """The heads that a model needs for these objectives."""
    found = {head: None for name in settings for head in registry.load("objectives", name).Objective.HEADS}
    return tuple(found)


def trains_a_pair(settings: Mapping[str, Section]) -> bool:
    """Whether the objective is `rtd`, whose model is two. Raises `UsageError` if others are to learn beside it."""
    followed = [name for name, config in settings.items() if config.weight > 0]  # type: ignore[attr-defined]
    if "rtd" not in followed:
        return False
    others = [name for name in followed if name != "rtd"]
    if others:
        raise UsageError(
            f"objective `rtd` trains a pair of models and cannot be mixed with {', '.join(others)}",
            hint="one after the other: pretrain with one, then continue from its checkpoints/best with the other",
        )
    return True
