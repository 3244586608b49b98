"""scikit-learn, imported without a trace."""

from __future__ import annotations

import importlib
import random
from typing import Any


def sklearn(module: str) -> Any:
    """The module `sklearn.<module>`.

    Its import draws from Python's global generator. Put back here, the state does not tell when a run evaluated first,
    and a run that was resumed stays equal to one that was not.
    """
    state = random.getstate()
    found = importlib.import_module(f"sklearn.{module}")
    random.setstate(state)
    return found
