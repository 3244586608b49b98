"""One seed for every source of chance, and their states as plain data that a checkpoint can hold."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any

LARGEST_SEED = 2**63 - 1  # what every generator takes


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seed Python, numpy and torch on every device.

    `deterministic` also makes torch refuse kernels that have no repeatable form; they raise when they are met.
    """
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)  # numpy takes 32 bits
    torch.manual_seed(seed)  # all CUDA and Metal devices too
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not repeatable without
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def random_state() -> dict[str, Any]:
    """The state of every generator: numbers, lists and byte tensors only, so nothing has to be pickled."""
    import numpy
    import torch

    version, internal, gauss = random.getstate()
    generator: Any = numpy.random.get_state(legacy=True)
    name, keys, position, has_gauss, cached = generator
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "python": [version, list(internal), gauss],
        "numpy": [str(name), keys.tolist(), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put every generator into a state from `random_state`; CUDA devices that are not here are left out."""
    import numpy
    import torch

    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    numpy.random.set_state((name, numpy.array(keys, dtype=numpy.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    for number, tensor in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(tensor, number)
