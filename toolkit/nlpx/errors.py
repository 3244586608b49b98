"""Errors a user can act on. Each says what is wrong, where, and what to do; the command line prints them as such.

Everything that is not a `UserError` is a bug in nlpx and exits with code 1.
"""

from __future__ import annotations

from nlpx import DISTRIBUTION
from nlpx.aliases import with_names

EXIT_BUG = 1  # anything that is no UserError
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class UserError(Exception):
    """Base of the errors that are shown without a traceback.

    `message` names what is wrong and the place (`file:line`, a key, a tensor); `hint` is the way out.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = with_names(message)
        self.hint = None if hint is None else with_names(hint)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UsageError(UserError):
    """A wrong option, key, preset or name (exit code 2)."""

    exit_code = 2


class InputError(UserError):
    """Input data that cannot be used: a missing file, a broken row, a wrong vocabulary or checkpoint (exit code 3)."""

    exit_code = 3


class MachineError(UserError):
    """The machine lacks something: a device, memory, disk, an extra, the network (exit code 4)."""

    exit_code = 4


class ResultError(UserError):
    """The run finished without a usable result: loss not finite, score below `--require` (exit code 5)."""

    exit_code = 5


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with how to go on."""

    def __init__(self, hint: str) -> None:
        super().__init__()
        self.hint = hint


def install_hint(extra: str) -> str:
    """The command that installs an extra, as the hint of a `MachineError`."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def reason_of(error: BaseException) -> str:
    """What a library said, for a message of ours: its first line, without the names of classes of exceptions."""
    import re

    lines = str(error).strip().splitlines()
    return re.sub(r"\b\w*(?:Error|Exception): ", "", lines[0]) if lines else "no reason given"


def shown(name: object) -> str:
    """A file's name as a message shows it: one that is too long to read is shortened in its middle."""
    text = str(name)
    return text if len(text) < 200 else f"{text[:60]}…{text[-60:]}"


def refuse_empty(name: object, *, what: str) -> None:
    """Raise `UsageError` for a name of nothing, which the system would take for the folder it works in."""
    if not str(name).strip():
        raise UsageError(f"an empty name where {what} is expected", hint="is a variable empty in the shell?")


class ShownWarning(UserWarning):
    """A warning for the user, which every command shows; others are the libraries' and stay in the log."""


def warn(sentence: str) -> None:
    """Warn the user, from code that has no `Messages`. Python alone would show the same sentence once a process."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("always", ShownWarning)
        warnings.warn(sentence, ShownWarning, stacklevel=3)
