"""What lies in place of a file: a Git LFS pointer, or the page of a server that did not give it.

Both have the name of what was wanted, so only the first bytes tell; a clone without git-lfs leaves the one, a failed
download the other.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from nlpx.errors import InputError

_LFS = b"version https://git-lfs.github.com/spec/"
_ENOUGH = 512  # a pointer is three short lines


class Known(NamedTuple):
    """Something other than what was expected: what people call it, and the way out."""

    name: str
    hint: str


class PlaceholderError(InputError):
    """A file of a checkpoint is not here: something else has its name."""


def lfs_pointer(head: bytes) -> Known | None:
    """What a Git LFS pointer stands for; None if these are the first bytes of something else."""
    if not head.startswith(_LFS):
        return None
    found = re.search(rb"\nsize (\d{1,20})\b", head)
    size = f" ({_readable(int(found[1]))} are not here)" if found else ""
    return Known(f"a Git LFS pointer{size}", "fetch what it stands for: git lfs pull; or download the file itself")


def web_page(head: bytes) -> Known | None:
    """An HTML page; None if these are the first bytes of something else."""
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return None
    return Known("an HTML page", "a download that failed or asked for a login leaves such a page; fetch the file again")


def placeholder(file: Path) -> Known | None:
    """What has the name of this file instead of it; None if it is the file itself, not there, or not to be read."""
    try:
        if not file.is_file():
            return None
        with file.open("rb") as stream:
            head = stream.read(_ENOUGH)
    except OSError:  # told by whoever reads the file itself
        return None
    return lfs_pointer(head) or web_page(head)


def refuse_placeholder(file: Path) -> None:
    """Raise `PlaceholderError` that names what a file of a checkpoint is, if it only has its name."""
    known = placeholder(file)
    if known is not None:
        raise PlaceholderError(f"{file} is {known.name}", hint=known.hint)


def _readable(num_bytes: int) -> str:
    return f"{num_bytes // 10**6:,} MB" if num_bytes >= 10**6 else f"{num_bytes:,} bytes"
