"""What the hub's answers mean: who may read a repository, what it lacks, and pages of somebody else."""

from __future__ import annotations

import re
from http.client import TOO_MANY_REQUESTS, responses
from typing import Any
from urllib.parse import unquote

from nlpx.errors import InputError, MachineError, UserError
from nlpx.models.checkpoints.hub.names import Name

MIRROR = "set HF_ENDPOINT to a mirror, or give a local directory"
_WRONG_TOKEN = "Invalid credentials in Authorization header"


def refusal(name: Name, endpoint: str, response: Any) -> UserError | None:
    """The error that an answer of the hub's amounts to; None for a good one."""
    status: int = response.status_code
    if status < 400:
        return _page(name, endpoint, response) if status == 200 else None
    code = response.headers.get("x-error-code")
    if code == "GatedRepo":
        return InputError(
            f"{name}: {endpoint} gives it only to those who have accepted its terms",
            hint=f"accept them at {endpoint}/{name.repository}, and set HF_TOKEN to a token of yours",
        )
    if status == 401 and response.headers.get("x-error-message") == _WRONG_TOKEN:
        return InputError(
            f"{name}: {endpoint} does not know the token it was sent",
            hint="set HF_TOKEN to a valid one; public repositories need none",
        )
    if code == "RevisionNotFound":
        return InputError(
            f"{name}: the repository has no revision `{name.revision or 'main'}`",
            hint=f"its branches and tags are listed at {endpoint}/{name.repository}/tree/main",
        )
    if code == "EntryNotFound" or (status == 404 and "/resolve/" in response.request.url.path):
        return InputError(
            f"{name}: the repository lists a file {_file(response)} and does not give it (404)",
            hint=f"look at {endpoint}/{name.repository}, or {MIRROR}",
        )
    if code == "RepoNotFound" or status in (401, 404):
        return InputError(
            f"{name}: {endpoint} has no such repository, or only a private one",
            hint="check the spelling; a private repository needs HF_TOKEN",
        )
    if status == 403:
        return InputError(
            f"{name}: {endpoint} refuses access (403)",
            hint="set HF_TOKEN to a token that may read it; a proxy or firewall can be what refuses, too",
        )
    return _out_of_order(name, endpoint, response)


def _out_of_order(name: Name, endpoint: str, response: Any) -> UserError:
    status: int = response.status_code
    if status == TOO_MANY_REQUESTS:
        return MachineError(
            f"{name}: {endpoint} has had too many requests from here (429)",
            hint=f"try again {_when(response.headers)}; with HF_TOKEN set it allows more",
        )
    phrase = responses.get(status, "no usual code")
    when = _when(response.headers)
    hint = f"try again {when}, or {MIRROR}" if status >= 500 else MIRROR
    return MachineError(f"{name}: {endpoint} answers {status} ({phrase})", hint=hint)


def _page(name: Name, endpoint: str, response: Any) -> UserError | None:
    """A page where the hub has data: whatever stands in between answers in its place."""
    is_page = response.headers.get("content-type", "").lower().startswith("text/html")
    if not is_page or "x-repo-commit" in response.headers:
        return None
    return MachineError(
        f"{name}: a web page comes instead of an answer of {endpoint}: a proxy or a login stands in between",
        hint=f"open {endpoint} in a browser to see it, set HTTPS_PROXY, or {MIRROR}",
    )


def _when(headers: Any) -> str:
    """When a server wants to be asked again: `Retry-After` in seconds or as a date, or the hub's `RateLimit`."""
    after = headers.get("retry-after", "")
    limit = re.search(r"\bt=(\d{1,9})", headers.get("ratelimit", ""))
    if limit and not after:
        after = limit[1]
    if after.isdecimal():
        return f"in {int(after):,} seconds"
    return f"after {after}" if after else "later"


def _file(response: Any) -> str:
    return unquote(response.request.url.path).partition("/resolve/")[2].partition("/")[2]
