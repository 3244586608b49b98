"""scikit-learn's metrics, imported without a trace."""

from __future__ import annotations

import random
from typing import Any


def sklearn_metrics() -> Any:
    """The module `sklearn.metrics`.

    Its import draws from Python's global generator. Put back here, the state does not tell when a run evaluated first,
    and a run that was resumed stays equal to one that was not.
    """
    state = random.getstate()
    from sklearn import metrics

    random.setstate(state)
    return metrics
