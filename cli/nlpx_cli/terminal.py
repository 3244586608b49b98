"""What passes between nlpx and a terminal or a pipe: UTF-8 whatever the locale, and no control characters of the data.

A text can hold characters that a terminal obeys: colours, a cleared screen, a title, reversed writing. Whatever people
are told is cleaned of them; the product is cleaned only where it goes to a terminal, and is exact everywhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

# All of C0 and C1 but tab and line feed, and what reverses the direction of writing.
_OBEYED = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_ESCAPES = {code: f"\\u{code:04x}" for code in _OBEYED if chr(code) not in "\t\n"}


def clean(text: str) -> str:
    """Return a text with the characters that terminals obey as `\\u001b`, tabs and line ends as they are."""
    return text if text.isprintable() else text.translate(_ESCAPES)


class CleanTerminal:
    """A text stream that is a terminal, which gets everything that is written to it clean; `raw` is the stream."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        """Write a text clean; returns the number of its characters."""
        self.raw.write(clean(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts clean, one after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def prepare() -> None:
    """Make stdin and stdout UTF-8, as all our files are, and a terminal clean.

    stderr keeps the encoding of the locale, which people read it in, and escapes what that lacks.
    """
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # names of files may be any bytes
        if sys.stdout.isatty() and not isinstance(sys.stdout, CleanTerminal):
            sys.stdout = CleanTerminal(sys.stdout)


def raw_stdout() -> Any:
    """stdout for what writes codes of its own, such as a table in colours; its texts must be clean before."""
    return sys.stdout.raw if isinstance(sys.stdout, CleanTerminal) else sys.stdout
