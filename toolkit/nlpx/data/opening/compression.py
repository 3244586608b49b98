"""Compressed streams, unpacked as they are read."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, BinaryIO, cast

from nlpx.data.opening.magic import Compression
from nlpx.errors import InputError, MachineError, install_hint

MODULES: dict[Compression, str] = {"gz": "gzip", "bz2": "bz2", "xz": "lzma"}  # imported when a file asks for one
SUFFIXES: dict[str, Compression] = {".gz": "gz", ".zst": "zst", ".bz2": "bz2", ".xz": "xz"}


def unpack(stream: BinaryIO, compression: Compression | None) -> BinaryIO:
    """Return a stream of the unpacked bytes; packs laid end to end in one file are read as one.

    Raises MachineError if Zstandard is asked for and its package is missing.
    """
    if compression is None:
        return stream
    opener = _open_zstandard() if compression == "zst" else import_module(MODULES[compression]).open
    return cast(BinaryIO, opener(stream))


def _open_zstandard() -> Callable[[Any], Any]:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # of Python 3.14 and later
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            raise MachineError("reading .zst needs the extra `data`", hint=install_hint("data")) from None
    return cast(Callable[[Any], Any], zstd.open)


def unpacking_error(error: Exception, name: str, *, line: int | None, num_bytes: int) -> InputError:
    """Return the error for a stream that broke while it was read: what is wrong and how far reading came.

    `line` is the number of the last whole line, `num_bytes` the number of unpacked bytes before the break.
    """
    reached = f"after {num_bytes:,} bytes" if line is None else f"after line {line:,} ({num_bytes:,} bytes)"
    # Decompressors raise OSError too, but only the system's own errors carry a number.
    if isinstance(error, OSError) and error.errno is not None:
        return InputError(f"{name}: reading failed {reached}: {error.strerror}")
    what = "ends in the middle (truncated)" if isinstance(error, EOFError) else "is not valid"
    message = f"{name}: the compressed data {what} {reached}"
    return InputError(message, hint="fetch or pack the file again")


def is_reading_error(error: Exception) -> bool:
    """Whether an exception is one of those that broken files and decompressors raise."""
    # By name: the classes of the decompressors exist only once their modules are loaded.
    return isinstance(error, EOFError | OSError) or type(error).__qualname__ in ("error", "LZMAError", "ZstdError")
