"""The report on loading a checkpoint: which tensors were used, missing, unexpected, ..."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class LoadReport:
    """What became of each tensor. Parameters are named as ours, tensors as in the checkpoint."""

    family: str
    reason: str  # why it is this family
    used: dict[str, list[str]] = field(default_factory=dict)  # parameter -> the tensors it was made of
    missing: list[str] = field(default_factory=list)  # parameters without a tensor, started at random
    new: list[str] = field(default_factory=list)  # parameters meant to start at random, such as fresh heads
    unexpected: list[str] = field(default_factory=list)  # tensors that no parameter uses
    ignored: list[str] = field(default_factory=list)  # tensors that are recomputed, or copies of tied ones
    reshaped: dict[str, str] = field(default_factory=dict)  # parameter -> "(old) -> (new)"
    warnings: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)  # of `unexpected`: no head and no layer beyond the last
    alerts: list[str] = field(default_factory=list)  # warnings that every command shows
