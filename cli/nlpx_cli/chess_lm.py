"""`nlpx chess-lm`: games of Chinese chess, a language model of their moves, and playing against it.

Its commands are in the files `chess_lm_*.py` beside this one. Each defines `add_commands(group)`, not `register`, which
would make it a command of its own.
"""

from __future__ import annotations

import importlib
import pkgutil

import typer

import nlpx_cli


def register(parent: typer.Typer) -> None:
    """Add `nlpx chess-lm` with the commands of all its files."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Chinese chess: games, models, play.")
    for module in pkgutil.iter_modules(nlpx_cli.__path__):
        if module.name.startswith("chess_lm_"):
            add_commands = getattr(importlib.import_module(f"nlpx_cli.{module.name}"), "add_commands", None)
            if add_commands is not None:
                add_commands(group)
    parent.add_typer(group, name="chess-lm")
