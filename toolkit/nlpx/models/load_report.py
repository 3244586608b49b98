"""What became of each tensor of a checkpoint when it was loaded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class LoadReport:
    """What became of each tensor. Names on the left are ours, on the right the checkpoint's."""

    family: str
    reason: str
    used: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    reshaped: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
