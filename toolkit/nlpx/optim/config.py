"""How the weights move: which optimizer, at what rate, and which parameters are treated differently."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, field_validator, model_validator

from nlpx.configuration import registry
from nlpx.configuration.section import PluginName, Plugins, PluginSettings, Section


class ParameterRule(Section):
    """Treats parameters whose name matches `pattern` differently; of several rules the first match wins."""

    pattern: str = Field(description="shell pattern over parameter names, such as `*condition*`")
    learning_rate_scale: NonNegativeFloat = Field(default=1.0, description="factor on the learning rate; 0 freezes")
    weight_decay: NonNegativeFloat | None = Field(
        default=None, description="instead of `optim.weight_decay`; null: none for norms, biases and vectors"
    )


class ScheduleConfig(Section):
    """The learning rate over the run, counted in updates (never in micro-batches)."""

    ALTERNATIVES: ClassVar = (
        ("warmup_steps", "warmup_ratio"),
        ("points", "warmup_steps"),
        ("points", "warmup_ratio"),
        ("points", "decay"),
    )

    warmup_steps: NonNegativeInt | None = Field(default=None, description="updates of linear warm-up from 0")
    warmup_ratio: float | None = Field(default=None, ge=0, lt=1, description="the same as a fraction of all updates")
    decay: Literal["linear", "cosine", "constant"] | None = Field(
        default=None, description="course after the warm-up, towards 0 just past the last update; null: linear"
    )
    points: dict[NonNegativeInt, NonNegativeFloat] | None = Field(
        default=None, description="the whole course instead: {update: factor}, linear between, (0, 0) implied"
    )

    @model_validator(mode="after")
    def _one_course(self) -> Self:
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            raise ValueError("`warmup_steps` and `warmup_ratio` contradict each other: set one of them to null")
        others = [key for key in ("warmup_steps", "warmup_ratio", "decay") if getattr(self, key) is not None]
        if self.points is not None and others:
            raise ValueError(f"`points` gives the whole course, so `{others[0]}` must be null")
        if self.points is not None and not any(self.points.values()):
            raise ValueError("`points` needs at least one factor above 0, or nothing is learned")
        return self


class OptimConfig(Section):
    """The optimizer and its rates."""

    name: Annotated[str, PluginName("optim")] = Field(default="adamw", description="file name in `nlpx/optim`")
    learning_rate: PositiveFloat = Field(
        default=2e-5,
        description="the rate that schedule, rules and optimizers multiply: the highest of the run where none of their "
        "factors is above 1, as those of `points`, `learning_rate_scale` and muon's hidden matrices may be",
    )
    weight_decay: NonNegativeFloat = Field(default=0.01, description="decoupled; not on norms, biases and vectors")
    options: Annotated[Any, PluginSettings("optim", named_by="name")] = Field(
        default={}, description="what only this optimizer has, such as `betas`"
    )
    wrappers: Annotated[dict[str, Any], Plugins("optim")] = Field(
        default={}, description="what derives another optimizer from it, innermost first, such as `layer_adaptation`"
    )
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="factor on the rate from each block to the one below it; 1: none"
    )
    rules: tuple[ParameterRule, ...] = Field(default=(), description="exceptions by parameter name, first match wins")
    schedule: ScheduleConfig = ScheduleConfig()

    @property
    def gradients_per_update(self) -> int:
        """How many gradients the optimizer takes in before it moves; 1 without hidden accumulation."""
        return int(getattr(self.wrappers.get("hidden_accumulation"), "steps", 1))

    @field_validator("name")
    @classmethod
    def _is_optimizer(cls, name: str) -> str:
        if not hasattr(registry.load("optim", name), "build"):
            raise ValueError(f"`{name}` is no optimizer; known: {', '.join(optimizer_names())}")
        return name

    @field_validator("wrappers")
    @classmethod
    def _are_wrappers(cls, wrappers: dict[str, Any]) -> dict[str, Any]:
        for name in wrappers:
            if not hasattr(registry.load("optim", name), "Wrapper"):
                raise ValueError(f"`{name}` wraps no optimizer; known: {', '.join(wrapper_names())}")
        return wrappers


def optimizer_names() -> list[str]:
    """The modules of this folder that build an optimizer."""
    return _with("build")


def wrapper_names() -> list[str]:
    """The modules of this folder that derive one optimizer from another."""
    return _with("Wrapper")


def _with(part: str) -> list[str]:
    return [name for name in registry.plugins("optim") if hasattr(registry.load("optim", name), part)]
