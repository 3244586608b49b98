"""The Typer application. A command is a file beside this one that defines `register(app)`; there is no list of them."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated, Any

import typer

import nlpx_cli
from nlpx import __version__

_HELP = """Chinese NLP on your own text and checkpoints: train, predict, inspect, convert.

Data goes to stdout, everything else to stderr; `-` means stdin or stdout.

\b
Examples:
  nlpx finetune --task sohu
  nlpx predict last rows.jsonl > answers.jsonl
  nlpx inspect path/to/checkpoint
"""


def build() -> Any:
    """The `nlpx` command with all its sub-commands, ready to be invoked."""
    app = typer.Typer(
        name="nlpx",
        help=_HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # its tracebacks would show local variables
        rich_markup_mode=None,  # plain help: half the start-up time, and it can be piped
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    )
    app.callback()(_common)
    for module in pkgutil.iter_modules(nlpx_cli.__path__):
        if not module.name.startswith("_"):
            register = getattr(importlib.import_module(f"nlpx_cli.{module.name}"), "register", None)
            if register is not None:
                register(app)
    return typer.main.get_command(app)


def _common(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; the same as NLPX_DEBUG=1.")] = False,
) -> None:
    # `main` answers a lone --version before it imports Typer, and takes --debug out wherever it stands.
    del debug
    if version:
        print(f"nlpx {__version__}")
        raise typer.Exit
