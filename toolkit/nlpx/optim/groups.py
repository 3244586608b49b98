"""Parameters in groups of equal rate and decay, by ordered name patterns, and the optimizer over them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from nlpx.configuration import registry
from nlpx.optim.config import OptimConfig, ParameterRule
from nlpx.optim.layers import layer_scales

if TYPE_CHECKING:
    import torch

NO_DECAY = ("*norm*", "*bias")


def build_optimizer(model: torch.nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The configured optimizer over the trainable parameters of `model`, inside its wrappers.

    A rule that matches no parameter is most likely misspelt: it warns.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for rule in unmatched([name for name, _ in named], config.rules):
        warnings.warn(f"optim.rules: no parameter matches `{rule.pattern}`", stacklevel=2)
    groups = parameter_groups(named, config)
    if config.wrappers:
        from nlpx.optim.derived import derive

        return derive(groups, config.name, config.options, config.wrappers)
    optimizer: torch.optim.Optimizer = registry.load("optim", config.name).build(groups, config.options)
    return optimizer


def parameter_groups(named_parameters: Iterable[tuple[str, torch.Tensor]], config: OptimConfig) -> list[dict[str, Any]]:
    """Groups for `torch.optim`, each with its `lr`, `learning_rate_scale`, `weight_decay` and named `params`.

    The loop sets `lr` before every update to the scheduled rate times `learning_rate_scale`.
    """
    groups: dict[tuple[float, float], list[tuple[str, torch.Tensor]]] = {}
    named = list(named_parameters)
    of_layers = layer_scales([name for name, _ in named], config.layer_decay)
    for (name, parameter), of_layer in zip(named, of_layers, strict=True):
        rule = matching_rule(name, config.rules)
        scale = of_layer * (1.0 if rule is None else rule.learning_rate_scale)
        decay = 0.0 if is_exempt(name, parameter) else config.weight_decay
        if rule is not None and rule.weight_decay is not None:
            decay = rule.weight_decay
        groups.setdefault((scale, decay), []).append((name, parameter))
    return [
        {
            "params": members,
            "lr": config.learning_rate * scale,
            "weight_decay": decay,
            "learning_rate_scale": scale,
        }
        for (scale, decay), members in groups.items()
    ]


def matching_rule(name: str, rules: Sequence[ParameterRule]) -> ParameterRule | None:
    """The first rule whose pattern matches the parameter's name."""
    return next((rule for rule in rules if fnmatchcase(name, rule.pattern)), None)


def is_exempt(name: str, parameter: torch.Tensor) -> bool:
    """Whether weight decay spares the parameter: norms, biases, and whatever is a vector."""
    return parameter.ndim <= 1 or any(fnmatchcase(name.lower(), pattern) for pattern in NO_DECAY)


def unmatched(names: Sequence[str], rules: Sequence[ParameterRule]) -> list[ParameterRule]:
    """The rules whose pattern matches no name at all."""
    return [rule for rule in rules if not any(fnmatchcase(name, rule.pattern) for name in names)]
