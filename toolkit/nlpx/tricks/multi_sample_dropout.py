"""Multi-sample dropout: the head reads the same states under several dropout masks (arXiv 1905.09788).

    loss = mean over the samples of L(head(dropout_i(states)))

Only the head is computed again, so a sample costs next to nothing beside the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from nlpx.configuration.section import Section
from nlpx.errors import UsageError
from nlpx.tricks._shares import Stateless, mean_of, with_loss

if TYPE_CHECKING:
    from nlpx.tricks._shares import Objective

WRAPS = "objective"
NEEDS: frozenset[str] = frozenset()
CONFLICTS: frozenset[str] = frozenset()
SOURCE = "arXiv 1905.09788"
COST = "1.0 times the time; a head over a vocabulary costs more"


class Config(Section):
    """How many masks, and of what rate."""

    samples: PositiveInt = Field(5, description="masks; 1: one, as without the trick")
    rate: float | None = Field(
        None, gt=0, lt=1, description="of a dropout before the head's last map; null: the head's own alone"
    )


class Trick(Stateless):
    """Runs the objective again on the recorded states, through the heads alone."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def wrap(self, inner: Objective) -> Objective:
        """The same objective over all samples in training."""
        config = self.config
        if config.samples == 1 and config.rate is None:
            return inner

        def objective(model: Any, batch: dict[str, Any]) -> Any:
            if not model.training:
                return inner(model, batch)
            self._check(model)
            with ExitStack() as stack:
                if config.rate is not None:
                    for head in model.head_modules().values():
                        stack.enter_context(_dropping(_last_map(head), config.rate))
                with _recorded(model) as calls:
                    first = inner(model, batch)
                others = [inner(_Heads(model, calls), batch) for _ in range(config.samples - 1)]
            found = mean_of([first, *others])
            return with_loss(found, found.loss, trick="multi_sample_dropout", before=first.loss)

        return objective

    def _check(self, model: Any) -> None:
        """Raise `UsageError` where every sample would be the same."""
        heads = model.head_modules().values()
        if not heads:
            raise UsageError("the trick `multi_sample_dropout` is one of heads, and the model has none")
        rates = [getattr(part, "rate", getattr(part, "p", 0.0)) for head in heads for part in head.modules()]
        if self.config.rate is None and not any(isinstance(rate, float) and rate > 0 for rate in rates):
            raise UsageError(
                "the trick `multi_sample_dropout` has nothing to draw: the head has no dropout",
                hint="--set tricks.multi_sample_dropout.rate=0.3 adds some before its last map",
            )


class _Call:
    """One call of a model: its output, and how its heads were called."""

    def __init__(self) -> None:
        self.output: Any = None
        self.heads: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}


@contextmanager
def _recorded(model: Any) -> Iterator[list[_Call]]:
    """Within it, calls of the model are recorded in their order."""
    calls = [_Call()]

    def note_head(name: str) -> Any:
        def note(_: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            calls[-1].heads[name] = (args, options)

        return note

    def note_output(_: Any, __: Any, output: Any) -> None:
        calls[-1].output = output
        calls.append(_Call())

    handles = [model.register_forward_hook(note_output)]
    for name, module in model.head_modules().items():
        handles.append(module.register_forward_pre_hook(note_head(name), with_kwargs=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


class _Heads:
    """Stands in for a model whose states are known: each call computes the heads of the recorded one again."""

    def __init__(self, model: Any, calls: list[_Call]) -> None:
        self._model, self._calls = model, iter(calls)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *_: Any, **__: Any) -> Any:
        call, modules = next(self._calls), self._model.head_modules()
        found = {name: modules[name](*args, **options) for name, (args, options) in call.heads.items()}
        lm_loss = call.output.lm_loss
        if lm_loss is not None:  # where it was given, the head gives it in place of logits
            lm_loss = found.pop("lm")
        return replace(call.output, heads={**call.output.heads, **found}, lm_loss=lm_loss)


@contextmanager
def _dropping(module: Any, rate: float) -> Iterator[None]:
    """Within it, the input of a module goes through dropout."""
    from torch.nn import functional

    handle = module.register_forward_pre_hook(lambda _, args: (functional.dropout(args[0], rate), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


def _last_map(head: Any) -> Any:
    """The last linear map of a head. Raises `UsageError` for a head without one."""
    from torch import nn

    maps = [module for module in head.modules() if isinstance(module, nn.Linear)]
    if not maps:
        raise UsageError("the trick `multi_sample_dropout` found no linear map in the head", hint="leave out its rate")
    return maps[-1]
