"""One name for one thing in every command: earlier spellings are rewritten before the words are parsed.

So commands declare each option once, under its name of today, and what was written for an earlier one goes on working.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice

_CORPUS = {"--corpus": "--data"}
_EARLIER: Mapping[tuple[str, ...], Mapping[str, str]] = {
    ("wordfreq",): {"--output": "--out"},
    ("pretrain",): {"--format": "--input-format"},
    ("vocab", "trim"): _CORPUS,
    ("vocab", "cut"): _CORPUS,
    ("vocab", "show"): _CORPUS,
}
_PAIRS = frozenset([("similar", "score"), ("evaluate", "sts")])  # `--fields A B` is `--field A --field B`
# Commands that take their data as arguments; `--data`, as the commands that train have it, means the same there.
_DATA_AS_ARGUMENTS = frozenset(
    [
        ("wordfreq",),
        ("embed",),
        ("whiten",),
        ("predict",),
        ("vocab", "build"),
        ("evaluate", "mlm"),
        ("evaluate", "sts"),
        ("similar", "score"),
        ("similar", "search"),
        ("similar", "pairs"),
        ("chess-lm", "import"),
        ("chess-lm", "stats"),
        ("chess-lm", "evaluate"),
    ]
)
# Groups that do their main work without being told: what that is called, and the other commands of the group.
_UNSAID: Mapping[str, tuple[str, Collection[str]]] = {"summarize": ("write", ("write", "train", "evaluate"))}
# What other programs, or other commands, call a thing: the name that it has here, and what that is.
_MEANT = {
    "--format": ("--input-format", "names the format of the input"),
    "--output": ("--out", "names the output"),
    "--corpus": ("--data", "names the texts"),
    "--input": ("--data", "names the input"),
    "--lr": ("--learning-rate", "sets it"),
}


def with_new_names(words: Sequence[str]) -> list[str]:
    """The words of a command line with every option under its name of today."""
    words = _with_unsaid(words)
    command = next((known for known in _commands() if tuple(words[: len(known)]) == known), ())
    renamed, as_argument, is_of_pairs = _EARLIER.get(command, {}), command in _DATA_AS_ARGUMENTS, command in _PAIRS
    if not renamed and not as_argument:
        return list(words)
    kept: list[str] = []
    data: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*kept, *data, word, *rest]
        name, equals, value = word.partition("=")
        if as_argument and name == "--data":
            # Without a value the option stays, and is refused as one that the command does not have.
            data.append(value if equals else next(rest, word))
        elif is_of_pairs and word == "--fields":
            kept += [part for field in islice(rest, 2) for part in ("--field", field)]
        else:
            kept.append(renamed.get(name, name) + equals + value)
    return kept + data


def _with_unsaid(words: Sequence[str]) -> Sequence[str]:
    """`summarize FILE` as `summarize write FILE`; help, and no words at all, are those of the group."""
    main, commands = _UNSAID.get(words[0] if words else "", ("", ()))
    if not main or len(words) == 1 or words[1] in (*commands, "--help", "-h"):
        return words
    return [words[0], main, *words[1:]]


def way_out(name: str, options: Collection[str]) -> str | None:
    """What to write instead of an option that a command does not have, if that can be told."""
    meant, what = _MEANT.get(name, ("", ""))
    if meant in options:
        return f"{meant} {what}"
    if "--set" in options:
        return "--set KEY=VALUE changes any setting; nlpx presets show PRESET  lists them"
    return None


def _commands() -> Collection[tuple[str, ...]]:
    return _DATA_AS_ARGUMENTS | _EARLIER.keys()
