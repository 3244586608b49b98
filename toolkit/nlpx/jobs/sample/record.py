"""Diagnostics of a run (`--diagnostics`): traces by chain while it runs, a table and a plot at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlpx.jobs.sample.chains import State


SHORT = {
    "distinct_texts": "unique",
    "pseudo_log_likelihood": "nats/token",
    "autocorrelation_time": "time",
    "effective_sample_size": "ess",
}  # heads of the table


@dataclass(slots=True)
class Trace:
    """One chain: steps and pseudo-log-likelihood per token of its measured states, and how often it changed."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    texts: list[list[int]] = field(default_factory=list)  # those shown
    num_visits: int = 0
    num_changed: int = 0


@dataclass(slots=True)
class Record:
    """The traces of all chains. The burn-in is kept for the plot and left out of the figures."""

    traces: dict[int, Trace] = field(default_factory=dict)
    first_shown: int | None = None

    def add(self, state: State, log_likelihood: float, *, is_shown: bool) -> None:
        """Add a measured state and its pseudo-log-likelihood."""
        trace = self.traces.setdefault(state.chain, Trace())
        trace.steps.append(state.step)
        trace.values.append(log_likelihood / max(1, len(state.tokens)))
        trace.num_visits, trace.num_changed = state.num_visits, state.num_changed
        if is_shown:
            self.first_shown = state.step if self.first_shown is None else min(self.first_shown, state.step)
            trace.texts.append(state.token_ids)

    def summary(self) -> dict[str, Any]:
        """The figures of all chains together and, under `chains`, of each."""
        names = sorted(self.traces)
        return self._of(names) | {"chains": [{"chain": name} | self._of([name]) for name in names]}

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows for people: one line a chain, and one for all."""
        found = self.summary()
        keys = [key for key in found if key not in ("chains", "why_not")]
        rows = [[chain["chain"], *(chain[key] for key in keys)] for chain in found["chains"]]
        return ["chain", *(SHORT.get(key, key) for key in keys)], [*rows, ["all", *(found[key] for key in keys)]]

    def remarks(self) -> list[str]:
        """Why a figure of all chains is not there, one sentence each."""
        return [f"no {SHORT.get(name, name)}: {reason}" for name, reason in self.summary()["why_not"].items()]

    def _of(self, names: Sequence[int]) -> dict[str, Any]:
        from nlpx.decode.gibbs.diagnostics import summary

        traces = [self.traces[name] for name in names]
        return summary(
            [self._after_burn_in(trace) for trace in traces],
            [text for trace in traces for text in trace.texts],
            changed=[trace.num_changed / trace.num_visits for trace in traces if trace.num_visits],
        )

    def _after_burn_in(self, trace: Trace) -> list[float]:
        return trace.values[len(trace.values) - len(trace.texts) :]
