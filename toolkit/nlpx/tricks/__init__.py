"""One training trick a file; each wraps the objective, the backward pass or the update.

A trick's file has `class Config(Section)`; `WRAPS`, which is "objective", "backward" or "update";
`CONFLICTS`, the names of tricks it cannot join; and `class Trick`, built from its config, with
`wrap(inner)`, `state_dict()` and `load_state_dict(state)`. It may have `evaluation_weights(model)`, a
context in which the model is to be evaluated and saved. Neutral settings change no gradient and no weight
by a single bit.
"""

from __future__ import annotations

from collections.abc import Sequence

from nlpx.configuration import registry


def conflict(names: Sequence[str]) -> str | None:
    """A sentence about the first two of these tricks that cannot be joined; None if all can."""
    for name in names:
        others = registry.load("tricks", name).CONFLICTS
        for other in names:
            if other in others:
                return f"the tricks `{name}` and `{other}` cannot be joined: leave one of them out"
    return None
