"""What went wrong where there was no answer: the network, the disk, the cache."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from nlpx.errors import MachineError, UserError
from nlpx.faults import FAULTS
from nlpx.models.checkpoints.hub.answers import MIRROR, refusal
from nlpx.models.checkpoints.hub.names import Name
from nlpx.models.checkpoints.hub.watching import Watch

OFFLINE_WAYS = "unset HF_HUB_OFFLINE to fetch it, or give a local directory"


@contextmanager
def explained(name: Name, watch: Watch | None) -> Iterator[None]:
    """Turn whatever the hub's library raises into a `UserError`; without a watch only the cache is asked."""
    try:
        yield
    except Exception as error:
        raise _explain(name, watch, error) from error


def _explain(name: Name, watch: Watch | None, error: Exception) -> UserError:
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return cause
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            _, what, hint = FAULTS[cause.errno]
            return _cache_fault(name, what, hint)
        if isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return _cache_fault(name, "it cannot be written", "check its owner and rights")
    if watch is None:
        return _not_in_cache(name, error)
    for cause in chain:
        response = getattr(cause, "response", None)
        refused = None if response is None else refusal(name, watch.endpoint, response)
        if refused is not None:
            return refused
    return _of_the_network(name, watch, chain)


def _of_the_network(name: Name, watch: Watch, chain: list[BaseException]) -> UserError:
    # The network's classes come from httpx or its successor, depending on the library's version; their names are one.
    kinds = {kind.__name__: cause for cause in chain for kind in type(cause).__mro__}
    endpoint, text = watch.endpoint, _first_line(chain[0])
    if cut := re.search(r"should be of size (\d+) but has size (\d+) \((?:.*/)?(.*)\)", str(chain[0])):
        got, size = int(cut[2]), int(cut[1])
        return _broken_off(name, f"{cut[3]} was cut short: {got:,} of {size:,} bytes arrived")
    if "TimeoutException" in kinds:
        return MachineError(
            f"{name}: {endpoint} does not answer: nothing came for {watch.limit:g} seconds",
            hint=f"HF_HUB_DOWNLOAD_TIMEOUT=60 waits longer; or {MIRROR}",
        )
    if "ProxyError" in kinds:
        reason = _first_line(kinds["ProxyError"])
        return MachineError(f"{name}: the proxy does not let through: {reason}", hint="check HTTPS_PROXY and NO_PROXY")
    if "ConnectError" in kinds:
        reason = _first_line(kinds["ConnectError"])
        return MachineError(
            f"{name}: {endpoint} cannot be reached ({reason})",
            hint=MIRROR,
        )
    if kinds.keys() & {"RemoteProtocolError", "NetworkError", "GivenUpError"}:
        return _broken_off(name, f"{endpoint} broke off before everything had come")
    if kinds.keys() & {"FileMetadataError", "ValueError", "KeyError", "AssertionError"}:
        return MachineError(f"{name}: {endpoint} does not answer as the hub does", hint=MIRROR)
    return MachineError(f"{name}: cannot be fetched: {text}", hint=MIRROR)


def _broken_off(name: Name, what: str) -> MachineError:
    return MachineError(f"{name}: {what}", hint=f"try again: files that are complete are kept; or {MIRROR}")


def _cache_fault(name: Name, what: str, way_out: str) -> MachineError:
    from huggingface_hub import constants

    return MachineError(
        f"{name}: cannot be kept in the cache {constants.HF_HUB_CACHE}: {what}",
        hint=f"{way_out}, or set HF_HOME to a folder elsewhere",
    )


def _not_in_cache(name: Name, error: Exception) -> MachineError:
    if type(error).__name__ == "IncompleteSnapshotError":  # of newer versions of the library
        return MachineError(f"{name}: the cache has only a part of it (offline mode is on)", hint=OFFLINE_WAYS)
    return MachineError(f"{name}: no such directory, and not in the cache (offline mode is on)", hint=OFFLINE_WAYS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    text = re.sub(r"^\[Errno -?\d+\] ", "", str(error).strip())
    return text.splitlines()[0] if text else type(error).__name__
