"""What `nlpx wordfreq` does, without Typer: check, count, and show the counts in the form that was asked for."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from nlpx.errors import UsageError
from nlpx_cli.console import Console
from nlpx_cli.wordfreq_options import Options

if TYPE_CHECKING:
    from nlpx.counting.counts import Counts
    from nlpx.counting.settings import CountSettings
    from nlpx.counting.small import SmallCounts

_ROWS_ON_A_TERMINAL = 50  # the rest is in the file or the pipe
_PLAIN = Options()
# Options that ask for nothing but words of plain text, and those that earlier outputs leave nothing to.
_OF_PLAIN_WORDS = ("files", "top", "min_count", "out", "format", "no_hmm", "user_dictionary", "workers", "plot",
                   "timings", "json", "quiet")  # fmt: skip
_OF_COUNTING = ("unit", "ngram", "of", "tokenizer", "words_only", "no_hmm", "user_dictionary", "field", "timings")


def run(options: Options) -> None:
    """Count and print. Raises what the jobs raise, UsageError for options that contradict each other."""
    from nlpx.jobs import wordfreq

    console = Console(json=options.json, quiet=options.quiet)
    options = options._replace(files=_files(options))
    wordfreq.check_destinations(options.out, options.plot)
    if options.timings and not options.merge:
        _measure(options, console)
    started = time.perf_counter()
    with _counted(options, console) as counts:
        seconds = time.perf_counter() - started
        if counts.num_empty:
            console.warn(wordfreq.without_text(counts.num_empty))
        if counts.total == 0:
            _refuse_to_empty(options.out)
            console.warn("there was nothing to count")
        if options.plot is not None:  # before the counts, whose reader may leave early
            console.note(wordfreq.draw(counts, options.plot, unit=_unit(options)))
        _deliver(counts, options, console)
        if counts.segmenter:
            console.note(f"segmenter: {counts.segmenter}")
        console.note(wordfreq.summary(counts, seconds, unit=_unit(options)))


def _refuse_to_empty(output: str | None) -> None:
    """An input that was lost on the way must not cost the counts of an earlier one."""
    if output is not None:
        from nlpx.errors import InputError

        raise InputError(f"there was nothing to count: {output} is not written", hint="is the input empty?")


def _files(options: Options) -> tuple[str, ...]:
    if options.files:
        return options.files
    if options.merge:
        raise UsageError("--merge without files", hint="name the outputs to add up")
    if sys.stdin.isatty():
        raise UsageError("no text: stdin is a terminal", hint="name a file or a folder, or pipe text into the command")
    return ("-",)


def _measure(options: Options, console: Console) -> None:
    from nlpx.jobs.wordfreq.timings import measure

    measure(options.files, _settings(options), console, format=options.input_format)


def _counted(options: Options, console: Console) -> Counts | SmallCounts:
    if options._replace(**{name: getattr(_PLAIN, name) for name in _OF_PLAIN_WORDS}) == _PLAIN:
        from nlpx.counting.small import count_small

        small = count_small(options.files, hmm=not options.no_hmm, user_dictionary=options.user_dictionary)
        if small is not None:
            return small
    settings = _settings(options)
    if options.merge:
        return _merged(options, settings, console)
    from nlpx.jobs.wordfreq import count_files

    return count_files(options.files, settings, console, format=options.input_format)


def _merged(options: Options, settings: CountSettings, console: Console) -> Counts:
    from nlpx.counting.outputs import merge_counts

    for name in _OF_COUNTING:
        if getattr(options, name) != getattr(_PLAIN, name):
            console.warn(f"--{name.replace('_', '-')} has no effect on --merge: the files were counted before")
    return merge_counts(options.files, settings, console)


def _unit(options: Options) -> str:
    if options.unit is not None:
        return options.unit
    return "token" if options.tokenizer else "ngram" if options.ngram or options.of else "word"


def _settings(options: Options) -> CountSettings:
    from nlpx.counting.settings import CountSettings
    from nlpx.jobs.wordfreq import parse_size

    _check_unit(options)
    chosen: dict[str, Any] = {
        "unit": _unit(options),
        "ngram": options.ngram or 2,
        "of": options.of or "char",
        "words_only": options.words_only,
        "hmm": not options.no_hmm,
        "segmenter": options.segmenter,
        "user_dictionary": options.user_dictionary,
        "tokenizer": options.tokenizer,
        "field": options.field or "text",
        "encoding": options.encoding,
        "errors": options.errors,
        "workers": options.workers,
        "memory": parse_size(options.memory),
        "checkpoint": options.checkpoint,
        "engine": options.engine,
        "scheduler": options.scheduler,
    }
    return CountSettings(**chosen)


def _check_unit(options: Options) -> None:
    unit = _unit(options)
    for name, owner in (("ngram", "ngram"), ("of", "ngram"), ("tokenizer", "token")):
        if getattr(options, name) is not None and unit != owner:
            hint = f"leave out one of --{name} and --unit {unit}"
            raise UsageError(f"--{name} belongs to --unit {owner}", hint=hint)
    if unit == "token" and options.tokenizer is None:
        raise UsageError("--unit token needs a tokenizer", hint="--tokenizer DIR names a checkpoint")


def _deliver(counts: Counts | SmallCounts, options: Options, console: Console) -> None:
    from nlpx.jobs.wordfreq import format_for, write, write_file

    chosen: Any = options.format or ("jsonl" if options.json else None)
    form = format_for(options.out, chosen)
    if options.out is not None:
        num_lines = write_file(counts, options.out, format=form, top=options.top, min_count=options.min_count)
        console.note(f"{num_lines:,} lines in {options.out}")
    elif chosen is None and not options.quiet and sys.stdout.isatty():
        _show_table(counts, options, console)
    else:
        write(counts, sys.stdout, format=form, top=options.top, min_count=options.min_count)


def _show_table(counts: Counts | SmallCounts, options: Options, console: Console) -> None:
    from nlpx_cli.wordfreq_table import print_table

    rows = counts.ranked(top=options.top or _ROWS_ON_A_TERMINAL, min_count=options.min_count)
    num_rows = print_table(rows, counts.total)
    if options.top is None and num_rows == _ROWS_ON_A_TERMINAL < counts.distinct:
        console.note(f"the first {num_rows} of {counts.distinct:,}; --top N shows more, -o FILE keeps all")
