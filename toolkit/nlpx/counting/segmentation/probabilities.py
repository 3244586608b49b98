"""The tables of jieba's hidden Markov model, read without the rest of jieba, which takes three times as long."""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib.machinery import PathFinder
from typing import Any


@cache
def probabilities(name: str) -> dict[str, Any]:
    """Logarithms by state (`B`, `E`, `M`, `S`): `start` of a run, `trans`ition to a state, `emit` of a character."""
    package = PathFinder.find_spec("jieba")
    places = [f"{place}/finalseg" for place in package.submodule_search_locations or ()] if package else []
    spec = PathFinder.find_spec(f"prob_{name}", places)
    if spec is None or spec.loader is None:  # installed as something other than files
        module = importlib.import_module(f"jieba.finalseg.prob_{name}")
    else:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    table: dict[str, Any] = module.P
    return table
