"""The number format of the forward and backward pass; weights, gradients and optimizer state stay float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from nlpx.train.config import Precision

if TYPE_CHECKING:
    import torch

# On a CPU, bfloat16 pays only with instructions for it: elsewhere each product is emulated.
CPU_FEATURES = {"_is_amx_tile_supported": "AMX", "_is_avx512_bf16_supported": "AVX-512 bf16"}


def resolve_precision(precision: Precision, *, device: torch.device) -> tuple[str, str]:
    """`float32` or `bfloat16`, and why."""
    if precision != "auto":
        return precision, "as set by train.precision"
    reason = _bfloat16_hardware(device)
    if reason is None:
        return "float32", f"{device.type} has no instructions for bfloat16"
    return "bfloat16", f"{device.type} has {reason}"


def autocast(precision: str, *, device: torch.device) -> AbstractContextManager[Any]:
    """Around an objective: its matrix products in bfloat16, or nothing at all for other formats."""
    import torch

    if precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _bfloat16_hardware(device: torch.device) -> str | None:
    import torch

    if device.type == "cuda":
        return "bfloat16 units" if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type != "cpu":
        return None
    # Private names of torch: where a version lacks one, the answer is the safe no.
    supported = [text for name, text in CPU_FEATURES.items() if getattr(torch.cpu, name, lambda: False)()]
    return supported[0] if supported else None
