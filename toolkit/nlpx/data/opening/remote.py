"""Files behind URLs (`s3://`, `http://`, `memory://` ...) through fsspec, which is imported only for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, cast

from nlpx.errors import InputError, MachineError, UsageError, UserError, install_hint

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::|://)")
_GLOB = re.compile(r"[*?\[]")


class RemoteFile(NamedTuple):
    """A file behind a URL: where, and its bytes if the store says so and can read from any place in it."""

    url: str
    size: int | None


def is_url(path: str) -> bool:
    """Whether a path is a URL rather than a local path."""
    return _URL.match(path) is not None


def without_password(url: str) -> str:
    """A URL as it may be shown: `user:...@` of a web address stays out of messages, logs and run folders."""
    return re.sub(r"(?<=://)[^/?#\s]*@", "…@", url)


def open_url(url: str, *, by_parts: bool = True) -> BinaryIO:
    """Open the file behind a URL for reading bytes; without `by_parts` only from its start to its end.

    Raises MachineError for a missing package, UsageError for an unknown protocol, InputError for a missing file.
    """
    with _named(url):
        filesystem, path = _filesystem(url)
        options = {} if by_parts else {"block_size": 0}  # of HTTP: one request for all of it
        return cast(BinaryIO, filesystem.open(path, "rb", **options))


def list_url(url: str) -> tuple[list[RemoteFile], bool]:
    """Return the files a URL stands for (a file, a folder, a pattern), by name, and whether it is a folder."""
    with _named(url):
        filesystem, path = _filesystem(url)
        if _is_web(url):  # no folders there, and `?` is part of an address
            return [_remote_file(url, filesystem.info(path))], False
        if _GLOB.search(url):
            found = filesystem.glob(path, detail=True)
            return _files(filesystem, found), False
        facts = filesystem.info(path)
        if facts.get("type") == "directory":
            return _files(filesystem, filesystem.find(path, detail=True)), True
        return [_remote_file(url, facts)], False


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MachineError(
            f"reading {without_password(url)} needs the extra `data`", hint=install_hint("data")
        ) from None
    return cast(tuple[Any, str], url_to_fs(url))


def _is_web(url: str) -> bool:
    return url.startswith(("http:", "https:"))


def _files(filesystem: Any, found: dict[str, dict[str, Any]]) -> list[RemoteFile]:
    files = [(name, facts) for name, facts in sorted(found.items()) if facts.get("type") == "file"]
    return [_remote_file(filesystem.unstrip_protocol(name), facts) for name, facts in files]


def _remote_file(url: str, facts: dict[str, Any]) -> RemoteFile:
    # A web server that does not offer parts of a file can only be read from its start.
    by_parts = facts.get("partial", not _is_web(url))
    return RemoteFile(url, facts.get("size") if by_parts else None)


@contextmanager
def _named(url: str) -> Iterator[None]:
    """Every store has errors of its own: turn what goes wrong into one that names the URL."""
    shown = without_password(url)
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        protocol = url.split(":", 1)[0]
        raise MachineError(f"reading {protocol}:// needs another package: {error}", hint=install_hint("data")) from None
    except Exception as error:
        # fsspec calls every failure of a web server a missing file: the cause tells a dead network from a wrong name.
        cause = _cause(error)
        status = getattr(cause, "status", None)
        if status in (401, 403):
            what = f"{shown} may not be read: the server answers {status}"
            raise InputError(what, hint="check your rights to it") from None
        if isinstance(status, int) and status >= 500:
            hint = "the server has trouble of its own: try again later"
            raise MachineError(f"{shown} cannot be read: the server answers {status}", hint=hint) from None
        if status is None and _is_of_network(cause):
            what = f"{shown} cannot be reached: {_reason(cause, url)}"
            raise MachineError(what, hint="check the address, the network and the proxy") from None
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{shown}: no such file", hint="check the address") from None
        if isinstance(error, ValueError):
            what = _reason(error, url)
            raise UsageError(f"{shown}: {what}", hint="such as s3://bucket/file.txt; or a local path") from None
        what = f"{shown} cannot be read: {_reason(error, url)}"
        raise InputError(what, hint="check the address and your rights") from None


def _cause(error: BaseException) -> BaseException:
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return error


def _is_of_network(error: BaseException) -> bool:
    import socket

    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return True
    # aiohttp and botocore have classes of their own, loaded only where a URL asks for them.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"ClientConnectionError", "EndpointConnectionError", "ServerTimeoutError"})


def _reason(error: BaseException, url: str) -> str:
    """What an error says, in one line, without the password that some repeat."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:  # names that are not found: below
        return os.strerror(error.errno).lower()
    text = " ".join(str(error).split()) or type(error).__name__
    return without_password(text.replace(url, without_password(url)))
