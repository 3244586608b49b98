"""What passes between the hub's library and the hub: a time limit, a bound on tries, and each refusal told at once.

The library has no time limit where it looks a repository up, waits as long as a server asks it to, tries a file that
breaks off again for ever, and tells most refusals as a missing file. So its requests and answers are looked at here.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from nlpx import notes
from nlpx.models.checkpoints.hub import cached
from nlpx.models.checkpoints.hub.answers import refusal
from nlpx.models.checkpoints.hub.names import Name

TRIES = 3  # of one piece of a file; a download that gets on may break off more often


class GivenUpError(Exception):
    """The same request has been made too often."""


class Watch:
    """The requests for one repository while it is looked up and downloaded."""

    def __init__(self, name: Name) -> None:
        from huggingface_hub import constants

        self.name = name
        self.endpoint = re.sub(r"//[^/@]*@", "//", constants.ENDPOINT)  # as messages name it: without a password
        self.limit: float = constants.HF_HUB_DOWNLOAD_TIMEOUT  # seconds without a sign of the server
        self.blobs_before = cached.blobs(name)
        self.is_downloading = False
        self.has_no_revision = False
        self.has_answer = False
        self._tries: Counter[tuple[str, str, str | None]] = Counter()

    @property
    def is_unanswered(self) -> bool:
        """Whether the hub was asked and said nothing; the library then takes what its cache has, without a word."""
        return bool(self._tries) and not self.has_answer

    def before_request(self, request: Any) -> None:
        """Give a request its time limit. Raises `GivenUpError` if it has been made too often."""
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), self.limit)
        if not self.is_downloading and "/resolve/" in request.url.path:
            self.is_downloading = True
            notes.note(f"{self.name}: fetching it from {self.endpoint}")
        key = (request.method, str(request.url), request.headers.get("range"))
        self._tries[key] += 1
        if self._tries[key] > TRIES:
            raise GivenUpError

    def after_answer(self, response: Any) -> None:
        """Raise the `UserError` that tells what an answer means, if it is none of the hub's good ones."""
        self.has_answer = True
        self.has_no_revision |= response.headers.get("x-error-code") == "RevisionNotFound"
        refused = refusal(self.name, self.endpoint, response)
        if refused is not None:
            raise refused


@contextmanager
def watched(name: Name) -> Iterator[Watch]:
    """Watch the library's requests, with its own messages silent, for as long as the context lasts."""
    from huggingface_hub import get_session
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    watch, session, verbosity = Watch(name), get_session(), get_verbosity()
    hooks = session.event_hooks
    session.event_hooks = {
        "request": [*hooks["request"], watch.before_request],
        "response": [*hooks["response"], watch.after_answer],
    }
    set_verbosity(logging.CRITICAL)
    hides_bars = not notes.bars and not are_progress_bars_disabled()
    if hides_bars:
        disable_progress_bars()
    try:
        yield watch
    finally:
        set_verbosity(verbosity)
        if hides_bars:
            enable_progress_bars()
        with suppress(Exception):  # the library may have closed it after a failed connection
            session.event_hooks = hooks
