"""How many prepared matrix products torch's library for CPUs keeps.

oneDNN and torch's layer above it each keep 1,024 of them, one for every shape they met, at about 130 kB. A model over
texts meets new shapes without end: 20,000 rows took 265 MB so. What the layers of one batch share is a handful, and to
prepare one anew costs nothing that could be measured.
"""

from __future__ import annotations

import os

VARIABLES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
CAPACITY = 64  # the products of a forward and a backward pass, twice


def bound_kernel_caches() -> None:
    """Keep fewer, unless the user chose. The library looks when it first multiplies: later this does nothing."""
    for name in VARIABLES:
        os.environ.setdefault(name, str(CAPACITY))
