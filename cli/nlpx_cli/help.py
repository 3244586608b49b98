"""`nlpx help`: a page of the documentation."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Json, Quiet


def register(app: typer.Typer) -> None:
    """Add `nlpx help`."""
    app.command("help")(help_)


def _complete(incomplete: str) -> list[str]:
    from nlpx.jobs.help import topics

    return [topic.topic for topic in topics() if topic.topic.startswith(incomplete)]


def help_(
    topic: Annotated[
        str | None,
        typer.Argument(help="Which page; without it, the list.", metavar="[TOPIC]", autocompletion=_complete),
    ] = None,
    chinese: Annotated[bool, typer.Option("--chinese", "--zh", help="In Chinese, where there is a page.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print a page of the documentation, or the list of pages.

    Every command has one, with all its options, and so have data
    formats, exit codes, settings and parts of models.

    \b
    Examples:
      nlpx help
      nlpx help whiten
      nlpx help data --chinese
    """
    from nlpx.jobs.help import page, topics

    console = Console(json=json, quiet=quiet)
    if topic is None:
        console.listing([found._asdict() | {"chinese": "--zh" if found.chinese else ""} for found in topics()])
        return
    text = page(topic, chinese=chinese)
    if json:
        console.result({"topic": topic, "text": text}, value=text)
    elif sys.stdout.isatty():
        _show(text)
    else:
        console.text(text)


def _show(text: str) -> None:
    from rich.console import Console as Terminal
    from rich.markdown import Markdown

    Terminal().print(Markdown(text))
