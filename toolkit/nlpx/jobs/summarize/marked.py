"""Documents with what was taken from them marked: on a terminal, in plain text, on a page of HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nlpx.io import write_atomically

if TYPE_CHECKING:
    from nlpx.jobs.summarize import Summary

_HEAD = """<!DOCTYPE html>
<html lang="zh">
<head>
<meta charset="utf-8">
<title>nlpx summarize</title>
<style>
body { max-width: 46em; margin: 2em auto; padding: 0 1em; line-height: 1.7; font-family: sans-serif; color: #222; }
section { border-top: 1px solid #ddd; padding: 1em 0; }
.summary { font-weight: bold; }
.document { white-space: pre-wrap; }
mark { background: #ffe58f; }
</style>
</head>
<body>
"""
_TAIL = "</body>\n</html>\n"


def parts(summary: Summary) -> Iterator[tuple[str, float | None, bool]]:
    """The document in parts that make it up, the score of each, and whether it was taken."""
    text, end = summary.document.text, 0
    for span, score in summary.taken:
        if span.start > end:
            yield text[end : span.start], None, False
        yield span.text, score, True
        end = span.end
    if end < len(text):
        yield text[end:], None, False


class Page:
    """A page of HTML that grows by a section a document."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def add(self, summary: Summary) -> None:
        """Write the summary, and below it the document with what was taken marked; a score shows under the pointer."""
        marked = "".join(_marked(text, score) if taken else html.escape(text) for text, score, taken in parts(summary))
        place = html.escape(summary.document.place)
        written = html.escape(summary.text) or "(nothing)"
        self.stream.write(f'<section>\n<p>{place}</p>\n<p class="summary">{written}</p>\n')
        self.stream.write(f'<p class="document">{marked}</p>\n</section>\n')


@contextmanager
def page(path: Path) -> Iterator[Page]:
    """A page that takes its place when the block ends well."""
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(_HEAD)
        yield Page(stream)
        stream.write(_TAIL)
        stream.flush()


def _marked(text: str, score: float | None) -> str:
    title = "" if score is None else f' title="{score:.4f}"'
    return f"<mark{title}>{html.escape(text)}</mark>"
