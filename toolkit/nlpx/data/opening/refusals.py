"""The sentences in which reading refuses: the place, what is wrong, how the row begins, the way out.

A hint may name several ways out, separated by `; `. The command line shows only those whose options it has.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path

from nlpx.errors import InputError

EXCERPT_LENGTH = 60
SKIP_HINT = "correct the row; or leave such rows out with `--on-bad-row skip`"
REPLACE_HINT = "correct the row; or go on with `--errors replace`"
ARRAY_HINT = "one JSON object a line is expected; an array is split by: jq -c '.[]' FILE"
SURROGATE = "a lone surrogate (half of a \\uD83D\\uDE00 pair)"
NUL = "a NUL character"
_MAX_SHOWN_NAMES = 12


def bad_row(place: str, what: str, *, row: object = None, hint: str = SKIP_HINT) -> InputError:
    """Return the error for one row: place, what is wrong, the first 60 characters, the way out."""
    shown = row if isinstance(row, str) or row is None else json.dumps(row, ensure_ascii=False, default=str)
    return InputError(f"{place}: {what}" + (f": {excerpt(shown)}" if shown else ""), hint=hint)


def excerpt(text: str) -> str:
    """Return the first 60 characters of a row, control characters and surrogates escaped."""
    head = text[:EXCERPT_LENGTH]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in head)
    return safe + ("…" if len(text) > EXCERPT_LENGTH else "")


def names(what: str, found: Iterable[object], *, option: str = "--field") -> str:
    """Return a hint that lists the fields or columns there are, and the option that chooses one."""
    known = [str(name) for name in found]
    shown = ", ".join(known[:_MAX_SHOWN_NAMES]) + (", …" if len(known) > _MAX_SHOWN_NAMES else "")
    return f"its {what}: {shown or 'none'}; choose with {option}"


def wrong_width(num_cells: int, num_columns: int) -> str:
    """What is wrong with a row of another number of cells."""
    cells = "1 cell" if num_cells == 1 else f"{num_cells} cells"
    return f"{cells} where the header names {num_columns}"


def near_files(path: Path) -> str:
    """Return the way out for a missing file: near names in its folder, if there is one."""
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist either"
    entries = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(path.name, entries, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(f"`{folder / name}`" for name in near) + "?"
    shown = ", ".join(entries[:8]) + (", …" if len(entries) > 8 else "")
    return f"{folder} holds: {shown or 'nothing'}"
