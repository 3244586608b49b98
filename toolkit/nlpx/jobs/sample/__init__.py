"""`nlpx sample-gibbs`: text from a masked language model, from nothing, from a text with gaps, or line by line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from nlpx.errors import UsageError
from nlpx.jobs.sample.settings import Settings
from nlpx.train.config import Precision

if TYPE_CHECKING:
    from nlpx.data.opening.sources import Source
    from nlpx.jobs.sample.chains import Run, Start, State
    from nlpx.jobs.sample.record import Record

CHAINS = 8
LINES_AT_ONCE = 64  # of --rewrite: chains of one call, and memory for an endless stream


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


def rewrite(
    model: str,
    source: str,
    settings: Settings,
    *,
    encoding: str = "utf-8",
    device: str = "auto",
    precision: Precision = "auto",
) -> Iterator[dict[str, Any]]:
    """Every line of `source` (a path or `-`) as the last state of a chain that began with it, in order.

    Empty lines stay. The result of a line depends on its text, its number and the seed alone.
    """
    from nlpx.decode.prompts import parse_length, parse_span
    from nlpx.jobs.sample.chains import Run

    settings.for_lines()
    keep = [parse_span(span) for span in settings.keep]
    bounds = None if settings.length is None else parse_length(settings.length)
    windows = _windows(source, encoding)
    run = Run.load(model, settings, device=device, precision=precision)
    return (row for window in windows for row in _rewritten(run, window, keep, bounds))


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


def _rewritten(
    run: Run, window: list[tuple[int, str, str]], keep: list[slice], bounds: tuple[int, int] | None
) -> Iterator[dict[str, Any]]:
    from nlpx.decode.prompts import read_prompt

    starts: dict[int, Start] = {}
    for number, place, text in window:
        if text.strip():
            prompt = read_prompt(text, run.model.tokenizer, run.model.special, keep, place=place)
            starts[number] = run.from_prompt(prompt, bounds, place=place)
    last: dict[int, State] = {state.chain: state for state in run.states(starts)}
    for number, _, text in window:
        blank = {"text": text, "chain": number, "step": 0, "changed": []}
        yield run.row(last[number]) if number in last else blank


def _windows(source: str, encoding: str) -> Iterator[list[tuple[int, str, str]]]:
    """Number from 0, place and text of some lines at a time; from stdin of those that have arrived."""
    from nlpx.data.opening.encodings import check_encoding
    from nlpx.data.opening.sources import find_sources
    from nlpx.jobs.predict import as_they_arrive, detach_stdin

    check_encoding(encoding)
    if source == "-":
        detach_stdin()
    (found,) = find_sources([source], format="txt", encoding=encoding)
    rows = _numbered(found, encoding)
    if source == "-":
        return as_they_arrive(rows, LINES_AT_ONCE)
    return iter(lambda: list(islice(rows, LINES_AT_ONCE)), [])


def _numbered(source: Source, encoding: str) -> Iterator[tuple[int, str, str]]:
    from nlpx.data.opening.streams import open_source
    from nlpx.data.rows.lines import Lines, RowReport

    with open_source(source, encoding=encoding) as (opened, stream):
        lines = Lines(stream, opened.name, opened.lines_encoding(encoding), RowReport(), skip=False, keep_empty=True)
        for number, text in lines:
            yield number - 1, lines.place(number), text
