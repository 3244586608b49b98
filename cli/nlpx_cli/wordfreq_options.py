"""The options of `nlpx wordfreq`, and a reader of plain command lines.

A small file is counted in less time than it takes to import Typer and build all commands. So a command line that holds
nothing but known options and files is read here, by the annotations below; anything else, such as `--help`, a misspelt
option or a wrong value, is left to Typer, whose declarations in `wordfreq.py` have the same names and defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

SHORT = {"-o": "--out", "-q": "--quiet"}
CHOICES = {
    "unit": ("word", "char", "ngram", "token"),
    "of": ("char", "word"),
    "segmenter": ("auto", "rjieba", "jieba"),
    "format": ("tsv", "jsonl", "vocab"),
    "input_format": ("txt", "jsonl", "csv", "tsv", "parquet"),
    "errors": ("strict", "replace"),
    "engine": ("local", "dask"),
}
SMALLEST = {"ngram": 1, "top": 1, "min_count": 1, "workers": 1}
LARGEST = {"ngram": 5}


class Options(NamedTuple):
    """The options as they were given; None where the choice is left to the command."""

    files: tuple[str, ...] = ()
    unit: str | None = None
    ngram: int | None = None
    of: str | None = None
    tokenizer: str | None = None
    top: int | None = None
    min_count: int = 1
    out: str | None = None
    format: str | None = None
    words_only: bool = False
    no_hmm: bool = False
    segmenter: str = "auto"
    user_dictionary: str | None = None
    field: str | None = None
    input_format: str | None = None
    encoding: str = "utf-8"
    errors: str = "strict"
    workers: int | None = None
    memory: str = "2GiB"
    checkpoint: str | None = None
    engine: str = "local"
    scheduler: str | None = None
    merge: bool = False
    plot: str | None = None
    timings: bool = False
    json: bool = False
    quiet: bool = False


_DEFAULTS = {name: value for name, value in Options._field_defaults.items() if name != "files"}


def read_plainly(words: Sequence[str]) -> Options | None:
    """Return the options of a command line that holds no surprise, else None."""
    given: dict[str, Any] = {}
    files: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "-" or not word.startswith("-"):
            files.append(word)
            continue
        option, has_value, value = SHORT.get(word, word).partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if name not in _DEFAULTS or option != "--" + name.replace("_", "-"):
            return None
        is_flag = _DEFAULTS[name] is False
        if is_flag and has_value:
            return None
        found = True if is_flag else _value(name, value if has_value else next(rest, ""))
        if found is None:
            return None
        given[name] = found
    return Options(files=tuple(files), **given)


def _value(name: str, text: str) -> str | int | None:
    """The value of an option, None if it has to be looked at more closely."""
    if not text or text.startswith("-") or text not in CHOICES.get(name, (text,)):
        return None
    if name not in SMALLEST:
        return text
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if SMALLEST[name] <= number <= LARGEST.get(name, number) else None
