"""What a penalty on a gradient needs: kernels that can be differentiated twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Within it, attention runs in its plain form: torch's fused kernels have no second derivative."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield
