"""One training trick a file; each wraps the objective, the backward pass or the update.

A trick's file has `class Config(Section)`; `WRAPS`, which is "objective", "backward" or "update"; `NEEDS`, the names of
outputs that it reads of an objective, such as `logits`; `CONFLICTS`, the names of tricks it cannot join; `SOURCE` and
`COST`, for listings; `SECOND_ORDER`, true, if it differentiates the loss twice; and `class Trick`, built from its
config, with `wrap(inner)`, `state_dict()` and `load_state_dict(state)`. It may have `evaluation_weights(model)`, a
context in which the model is to be evaluated and saved. Of a model it knows what `nlpx.models.encoder.Encoder`
promises: to change the input, it hooks into `get_input_embeddings()`. Neutral settings change no gradient and no weight
by a single bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from nlpx.configuration import registry
from nlpx.errors import UsageError


def conflict(names: Sequence[str]) -> str | None:
    """A sentence about the first two of these tricks that cannot be joined; None if all can."""
    for name in names:
        others = registry.load("tricks", name).CONFLICTS
        for other in names:
            if other in others:
                return f"the tricks `{name}` and `{other}` cannot be joined: leave one of them out"
    return None


def check_joined(names: Sequence[str], train: Any) -> None:
    """Raise `UsageError` for two tricks that cannot be joined, or one that cannot join a setting of `train`."""
    problem = conflict(names)
    if problem is not None:
        raise UsageError(problem)
    once = [key for key in ("compile", "activation_checkpointing") if getattr(train, key)]
    for name in names if once else ():
        if getattr(registry.load("tricks", name), "SECOND_ORDER", False):
            raise UsageError(
                f"the trick `{name}` differentiates twice, and `train.{once[0]}` allows it once",
                hint="leave one of them out",
            )


def check_needs(names: Iterable[str], outputs: Iterable[str], *, of: str) -> frozenset[str]:
    """The outputs that these tricks read of `of`, an objective or task that can give `outputs`.

    Raises `UsageError` naming the first trick that reads another.
    """
    given = set(outputs)
    for name in names:
        missing = sorted(registry.load("tricks", name).NEEDS - given)
        if missing:
            raise UsageError(
                f"the trick `{name}` reads `{missing[0]}`, which {of} does not give",
                hint=f"it gives: {', '.join(sorted(given)) or 'a loss alone'}; leave the trick out",
            )
    return frozenset(output for name in names for output in registry.load("tricks", name).NEEDS)
