"""Cross entropy over a vocabulary without its logits: a slice of rows at a time, gradients made on the way.

The logits of all targets are the largest tensor of a small model's step, and memory, not arithmetic, is what they
cost. A slice stays in the cache, and nothing but the gradients of states and table is kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SLICE = {"cpu": 1 << 21}  # logits at once, 8 MB in float32: what a CPU's cache holds
SLICE_ELSEWHERE = 1 << 27  # 512 MB: few launches, and little of an accelerator's memory
FEWEST_ROWS = 64  # of a slice, so that the matrix products stay efficient for a very large vocabulary


def vocabulary_loss(states: Tensor, table: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Sum of the negative log-likelihoods of `targets` (N,) in nats, 0-d float32.

    states: (N, E), table: (V, E), bias: (V,). The same as `cross_entropy(linear(states, table, bias), targets)`, in
    the same precision under autocast. A gradient that is to be differentiated again is made through the logits and
    takes their memory.
    """
    loss: Tensor = _VocabularyLoss.apply(states, table, bias, targets)  # type: ignore[no-untyped-call]  # torch's
    return loss


class _VocabularyLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        device = states.device.type
        is_cast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if is_cast else states.dtype
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.needs_input_grad[2])
        with torch.autocast(device, enabled=False):
            sums = _Sums(states.to(dtype), table.to(dtype), None if bias is None else bias.to(dtype), wanted)
            for start in range(0, len(states), num_rows(len(table), device)):
                sums.add(slice(start, start + num_rows(len(table), device)), targets)
        ctx.save_for_backward(sums.of_states, sums.of_table, sums.of_bias, states, table, bias, targets)
        ctx.dtype = dtype
        return sums.loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *parts, states, table, bias, targets = ctx.saved_tensors
        if (
            torch.is_grad_enabled()
        ):  # with `create_graph`: the sums of the forward pass know nothing of where they came from
            wanted = [part is not None for part in parts]
            parts = _through_logits(states, table, bias, targets, dtype=ctx.dtype)
            parts = [part if is_wanted else None for part, is_wanted in zip(parts, wanted, strict=True)]
        scaled = [
            None if part is None else (part * gradients[0]).to(given.dtype)
            for part, given in zip(parts, (states, table, bias), strict=True)
        ]
        return (*scaled, None)


def _through_logits(
    states: Tensor, table: Tensor, bias: Tensor | None, targets: Tensor, *, dtype: torch.dtype
) -> list[Tensor | None]:
    """The gradients of states (N, E), table (V, E) and bias (V,) as functions of all three, to be differentiated."""
    states, table = states.to(dtype), table.to(dtype)
    with torch.autocast(states.device.type, enabled=False):
        logits = functional.linear(states, table, None if bias is None else bias.to(dtype)).float()  # (N, V)
        errors = logits.softmax(dim=1) - functional.one_hot(targets, len(table))  # (N, V)
        of_bias = None if bias is None else errors.sum(dim=0)
        errors = errors.to(dtype)
        return [errors @ table, errors.t() @ states, of_bias]


class _Sums:
    """The loss of the slices so far, and its gradients, all in float32 but those of the states."""

    def __init__(self, states: Tensor, table: Tensor, bias: Tensor | None, wanted: tuple[bool, bool, bool]) -> None:
        self.states, self.table, self.bias = states, table, bias
        self.loss = states.new_zeros((), dtype=torch.float32)
        self.of_states = torch.empty_like(states) if wanted[0] else None
        self.of_table = torch.zeros_like(table, dtype=torch.float32) if wanted[1] else None
        self.of_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wanted[2] else None

    def add(self, rows: slice, targets: Tensor) -> None:
        """One slice: softmax minus one-hot is the gradient of its logits."""
        states, at = self.states[rows], targets[rows, None]  # (N, E) and (N, 1)
        logits = functional.linear(states, self.table, self.bias).float()  # (N, V)
        normalizer = logits.logsumexp(dim=1, keepdim=True)  # (N, 1)
        self.loss += (normalizer - logits.gather(1, at)).sum()
        errors = logits.sub_(normalizer).exp_()  # (N, V): the probabilities, in the memory of the logits
        errors.scatter_add_(1, at, errors.new_full(at.shape, -1.0))  # minus one at the target
        if self.of_bias is not None:
            self.of_bias += errors.sum(dim=0)
        errors = errors.to(states.dtype)
        if self.of_states is not None:
            torch.mm(errors, self.table, out=self.of_states[rows])
        if self.of_table is not None:
            self.of_table += errors.t() @ states  # (V, E)


def num_rows(vocab_size: int, device: str) -> int:
    """How many rows of logits a slice has."""
    return max(FEWEST_ROWS, SLICE.get(device, SLICE_ELSEWHERE) // vocab_size)
