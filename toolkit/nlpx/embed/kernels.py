"""Which instructions numpy's products take, where its library would choose narrower ones than the processor has.

OpenBLAS picks its kernels by the model of the processor. For AMD's family 26 (Zen 5) version 0.3.31, which numpy 2.4
carries, takes those of 2013, although its AVX-512 kernels run there: float32 products took 1.65 times as long.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHOICE = "OPENBLAS_CORETYPE"
_FIRST_FAMILY = 26  # older ones are known to it
_NEEDED = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def prefer_wide_kernels(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Have OpenBLAS take its AVX-512 kernels on AMD processors that it does not know.

    It looks at the environment once, when numpy is first imported: later this does nothing, nor where the user chose.
    """
    if "numpy" in sys.modules or CHOICE in os.environ:
        return
    try:
        with cpuinfo.open(encoding="ascii", errors="replace") as lines:
            facts = {}
            for line in lines:
                key, _, value = line.partition(":")
                if not key.strip():  # the next processor
                    break
                facts[key.strip()] = value.strip()
    except OSError:
        return
    if facts.get("vendor_id") != "AuthenticAMD" or int(facts.get("cpu family", 0)) < _FIRST_FAMILY:
        return
    if set(facts.get("flags", "").split()) >= _NEEDED:
        os.environ[CHOICE] = "SkylakeX"
