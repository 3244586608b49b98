"""Where to compute: what `--device` means, and what `auto` chose and why. Parsing it needs no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from nlpx.errors import MachineError, UsageError

KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
_KEPT_KERNELS = 64  # with 16 a training step of short texts, which has more products, took a quarter longer
_FORM = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class ChosenDevice:
    """A device and the reason for it. (Which number format pays there, `nlpx.train.precision` decides.)"""

    device: str  # as torch writes it: cpu, cuda:0, mps
    reason: str


def check(name: str) -> str:
    """`name` itself if it has the form of a device; else `UsageError`. Whether the machine has it, `choose` says."""
    if not _FORM.fullmatch(name):
        raise UsageError(f"unknown device `{name}`", hint="known: auto, cpu, cuda, cuda:N, mps")
    return name


def choose(name: str = "auto", *, require_accelerator: bool = False) -> ChosenDevice:
    """The device for `name`, with the reason. Raises `MachineError` if the machine lacks it.

    `require_accelerator` is for presets that are hopeless on a CPU: `auto` then refuses instead of taking it.
    """
    check(name)
    import torch

    if name == "auto":
        return _automatic(require_accelerator=require_accelerator)
    if name == "cpu":
        return ChosenDevice("cpu", "asked for")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise _missing(name, "torch finds no Metal device")
        return ChosenDevice("mps", "asked for")
    number = int(name.partition(":")[2] or 0)
    if number >= torch.cuda.device_count():
        raise _missing(name, f"torch finds {torch.cuda.device_count()} CUDA devices")
    return ChosenDevice(f"cuda:{number}", f"asked for; {torch.cuda.get_device_name(number)}")


def _automatic(*, require_accelerator: bool) -> ChosenDevice:
    import torch

    if torch.cuda.is_available():
        return ChosenDevice("cuda:0", f"auto: {torch.cuda.get_device_name(0)}")
    if torch.backends.mps.is_available():
        return ChosenDevice("mps", "auto: Metal is available")
    if require_accelerator:
        raise MachineError(
            "this configuration needs a GPU and torch finds none", hint="--device cpu runs it on the CPU all the same"
        )
    return ChosenDevice("cpu", "auto: torch finds no GPU")


def _missing(name: str, why: str) -> MachineError:
    return MachineError(f"device `{name}` is not available: {why}", hint="--device auto takes what there is")


def bound_kernel_caches() -> None:
    """Keep few of the matrix products that torch's library for CPUs prepares, unless the user chose.

    oneDNN and torch's layer above it each keep 1,024, one for every shape they met, at about 130 kB. A model over texts
    meets new shapes without end: 20,000 rows took 265 MB so. What the layers of one batch share is some twenty, and to
    prepare one anew costs nothing that could be measured. The library looks when it first multiplies: later this does
    nothing.
    """
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(_KEPT_KERNELS))
