"""Settings that cannot move a model: rates too small and averages too slow for the updates a run has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nlpx.optim.config import OptimConfig
    from nlpx.train.state import Training

# Under Adam and its like an update moves a weight by at most about the learning rate. Fine-tuning is known to work from
# a hundred updates at 2e-5 on, whose rates add up to 1e-3 after warm-up and decay.
FARTHEST = 1e-3
STEPS_BY_RATE = ("adamw", "muon", "tiger")
# The moving average reads out the mean of the weights so far, weighed by decay^age. Where decay^updates is still above
# a third, the beginning of the run counts nearly as much as its end.
BEGINNING = 1 / 3


def warnings_for(training: Training, optim: OptimConfig) -> Iterator[str]:
    """Sentences on what in these settings leaves the model about where it begins."""
    steps = training.total_steps
    distance = math.fsum(training.schedule(step) for step in range(1, steps + 1))
    if optim.name in STEPS_BY_RATE and not optim.wrappers and distance < FARTHEST:
        yield (
            f"{steps} updates at a learning rate of {optim.learning_rate:g} move a weight by at most {distance:.1g}, "
            f"too little to learn: --learning-rate {_round(optim.learning_rate * FARTHEST / distance)} or more --epochs"
        )
    for named in training.tricks:
        decay = getattr(named.trick, "decay", None)
        if named.name == "ema" and decay is not None and decay**steps > BEGINNING and steps > 1:
            yield (
                f"the moving average of the weights (decay {decay:g}) reaches back {1 / (1 - decay):,.0f} updates "
                f"and the run has {steps}: it lags behind; --set tricks.ema.decay={_round(1 - 5 / (steps + 5))}"
            )


def _round(value: float) -> str:
    return f"{value:.2g}"
