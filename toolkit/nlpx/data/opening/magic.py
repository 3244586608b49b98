"""What a file is by its first bytes: packed (and unpacked as it is read), or something that is no text, by its name.

One table for all that reads rows and texts. Names of files lie, first bytes hardly ever.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal

from nlpx.errors import InputError
from nlpx.first_bytes import Known, lfs_pointer, web_page

Compression = Literal["gz", "zst", "bz2", "xz"]

HEAD_BYTES = 4096  # of a file are looked at
LEAST_HEAD = 512  # are enough: a TAR tells itself at byte 257
PARQUET = b"PAR1"
NUMPY = b"\x93NUMPY"
_PACKED: tuple[tuple[re.Pattern[bytes], Compression], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), "gz"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "zst"),
    (re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90|$)", re.DOTALL), "bz2"),
    (re.compile(rb"\xfd7zXZ\x00"), "xz"),
)


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
    if (pointer := lfs_pointer(head)) is not None:
        return pointer
    page = None if may_be_page or PurePath(name).suffix.lower() in (".html", ".htm", ".xhtml") else web_page(head)
    if page is not None:
        return page
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
