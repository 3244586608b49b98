"""How deep in a model its parameters lie, for rates that fall from layer to layer (arXiv 1801.06146, 2003.10555)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nlpx.errors import UsageError

_BLOCK = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.(\d+)\.")
_INPUT = re.compile(r"embedding|(?:^|\.)(?:wte|wpe|shared)\.")


def heights(names: Sequence[str]) -> list[int]:
    """Of each parameter: 0 for tables of the input, i + 1 for block i, and one more than the last block for the rest.

    Names are those of our models and of transformers' encoders. Raises `UsageError` where none has a number.
    """
    blocks = [_BLOCK.search(name) for name in names]
    numbers = [int(block.group(1)) for block in blocks if block is not None]
    if not numbers:
        raise UsageError(
            "optim.layer_decay needs blocks with numbers, and no parameter of this model has one",
            hint="--set optim.layer_decay=1, and `optim.rules` for rates by name",
        )
    top = max(numbers) + 2
    return [
        int(block.group(1)) + 1 if block is not None else 0 if _INPUT.search(name) else top
        for name, block in zip(names, blocks, strict=True)
    ]


def layer_scales(names: Sequence[str], decay: float) -> list[float]:
    """The factor on the rate of each parameter: `decay` to the number of layers between it and the heads."""
    if decay == 1:
        return [1.0] * len(names)
    found = heights(names)
    return [decay ** (max(found) - height) for height in found]
