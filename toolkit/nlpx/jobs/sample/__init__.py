"""`nlpx sample-gibbs`: text from a masked language model, from nothing or from a text with gaps.

`rewriting` does it line by line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nlpx.errors import UsageError
from nlpx.jobs.sample.settings import Settings
from nlpx.train.config import Precision

if TYPE_CHECKING:
    from nlpx.jobs.sample.chains import Run, Start
    from nlpx.jobs.sample.record import Record

CHAINS = 8


def sample(
    model: str,
    settings: Settings,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    record: Record | None = None,
) -> Iterator[dict[str, Any]]:
    """Samples as they are drawn: text, chain, step, places changed and, on request, the pseudo-energy.

    `record` collects the traces for diagnostics. Everything is checked before the first is drawn: raises `UsageError`
    and `InputError`.
    """
    from nlpx.decode.prompts import parse_length, parse_span, read_prompt
    from nlpx.jobs.sample.chains import Run

    keep = [parse_span(span) for span in settings.keep]
    bounds = None if settings.length is None else parse_length(settings.length)
    if keep and settings.text is None:
        raise UsageError("--keep has no text to keep", hint="give one with --from, or lines with --rewrite")
    run = Run.load(model, settings, device=device, precision=precision)
    numbers = range(settings.chains or CHAINS)
    if settings.text is None:
        starts = {number: run.from_nothing(number, bounds) for number in numbers}
    else:
        prompt = read_prompt(settings.text, run.model.tokenizer, run.model.special, keep)
        starts = dict.fromkeys(numbers, run.from_prompt(prompt, bounds))
    return _distinct(_samples(run, starts, record), wanted=settings.unique)


def _samples(run: Run, starts: dict[int, Start], record: Record | None) -> Iterator[dict[str, Any]]:
    settings = run.settings
    for state in run.states(starts):
        if state.has_gaps or not settings.is_measured(state.step, sweep=run.sweep(state.start)):
            continue
        is_shown = state.step >= settings.first_shown
        if record is not None:
            record.add(state, run.pseudo_log_likelihood(state), is_shown=is_shown)
        if is_shown:
            yield run.row(state)


def _distinct(rows: Iterator[dict[str, Any]], *, wanted: bool) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for row in rows:
        if not wanted or row["text"] not in seen:
            seen.add(row["text"])
            yield row
