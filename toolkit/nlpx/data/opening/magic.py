"""What a file is by its first bytes: packed (and unpacked as it is read), or something that is no text, by its name.

One table for all that reads rows and texts. Names of files lie, first bytes hardly ever.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal, NamedTuple

from nlpx.errors import InputError

Compression = Literal["gz", "zst", "bz2", "xz"]

HEAD_BYTES = 4096  # of a file are looked at
LEAST_HEAD = 512  # are enough: a TAR tells itself at byte 257
PARQUET = b"PAR1"
NUMPY = b"\x93NUMPY"
_LFS = b"version https://git-lfs.github.com/spec/"
_PACKED: tuple[tuple[re.Pattern[bytes], Compression], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), "gz"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "zst"),
    (re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90|$)", re.DOTALL), "bz2"),
    (re.compile(rb"\xfd7zXZ\x00"), "xz"),
)


class Known(NamedTuple):
    """Something that is no text: what people call it, and the way out."""

    name: str
    hint: str


# A pattern of the first bytes, what it is called, and what to do; `{file}` is the file's name.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (rb"PAR1", "a Parquet table", "give it the suffix .parquet; or fetch it to a file first"),
    (rb"\x93NUMPY", "a NumPy array", "`nlpx similar` and `nlpx whiten` read vectors; here texts are expected"),
    (rb".{4}\0{4}\{\"", "a safetensors file: weights of a model", "name a file of texts or rows"),
    (rb"\x80[\x02-\x05][\x95}(\]cKX\x8c]", "a Python pickle", "it may run code when opened, so nlpx does not read it"),
    (rb"Rar!\x1a\x07", "a RAR archive", "unpack it first: unrar p -inul {file} | nlpx ... -"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first: 7z x -so {file} | nlpx ... -"),
    (rb"%PDF-", "a PDF document", "take its text first: pdftotext {file} - | nlpx ... -"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Word or Excel document", "save it as text or CSV"),
    (
        rb"SQLite format 3\0",
        "an SQLite database",
        "write it as CSV: sqlite3 -header -csv {file} 'select ...'",
    ),
    (rb"\x89HDF\r\n", "an HDF5 file", "name a file of texts or rows"),
    (rb"(ARROW1|FEA1)", "an Arrow file", "write it as Parquet"),
    (rb"\x89PNG\r\n|\xff\xd8\xff", "a picture", "name a file of texts or rows"),
)
_ZIPPED = {
    ".xlsx": Known("an Excel workbook", "save the sheet as CSV"),
    ".docx": Known("a Word document", "save it as plain text"),
    ".npz": Known("a NumPy archive of arrays", "here texts are expected"),
    ".epub": Known("an EPUB book", "save it as plain text"),
    **dict.fromkeys(
        (".bin", ".pt", ".pth", ".ckpt"), Known("a PyTorch checkpoint: weights of a model", "name a file of texts")
    ),
}


def compression_of_bytes(head: bytes) -> Compression | None:
    """Return what the first bytes of a file say it is packed with; None for everything else."""
    return next((name for pattern, name in _PACKED if pattern.match(head)), None)


def recognise(head: bytes, name: str, *, may_be_page: bool = False) -> Known | None:
    """Return what a file is if its first bytes say that it is no text; `name` is a path, for suffix and hint."""
    if head.startswith(_LFS):
        return _lfs_pointer(head)
    if not may_be_page and _is_page(head) and PurePath(name).suffix.lower() not in (".html", ".htm", ".xhtml"):
        hint = "a download that failed or asked for a login leaves such a page; fetch the file again"
        return Known("an HTML page", hint)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        zipped = Known("a ZIP archive", f"unpack it first: unzip -p {name} | nlpx ... -")
        return _ZIPPED.get(PurePath(name).suffix.lower(), zipped)
    if head[257:262] == b"ustar":
        packed = PurePath(name).suffix.lower() in (".gz", ".tgz", ".bz2", ".xz", ".zst")
        return Known("a TAR archive", f"unpack it first: tar -x{'' if not packed else 'a'}Of {name} | nlpx ... -")
    for pattern, what, hint in _OTHERS:
        if re.match(pattern, head, re.DOTALL):
            return Known(what, hint.replace("{file}", name))
    return None


def refuse_other(head: bytes, name: str, *, may_be_page: bool = False) -> None:
    """Raise InputError that names what a file is, if it is no text."""
    known = recognise(head, name, may_be_page=may_be_page)
    if known is not None:
        raise InputError(f"{name} is {known.name}, not text", hint=known.hint)


def _lfs_pointer(head: bytes) -> Known:
    found = re.search(rb"\nsize (\d{1,20})\b", head)
    size = f" ({_readable(int(found[1]))} are not here)" if found else ""
    return Known(f"a Git LFS pointer{size}", "fetch what it stands for: git lfs pull; or download the file itself")


def _readable(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes >= 1e6 else f"{num_bytes:,} bytes"


def _is_page(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))
