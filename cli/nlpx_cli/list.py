"""`nlpx list`: the tricks, losses, optimizers and tasks that can be chosen, one line each."""

from __future__ import annotations

from typing import Annotated

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Json, Quiet

KINDS = ("tricks", "losses", "optimizers", "tasks")


def complete_kinds(incomplete: str) -> list[str]:
    """What can be listed."""
    return [kind for kind in KINDS if kind.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Add `nlpx list`."""
    app.command("list")(list_plugins)


def list_plugins(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS)}.", metavar="KIND", autocompletion=complete_kinds)],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List what can be chosen, one line each.

    What it is, where it was published, what it costs over a plain step, and
    what it cannot be joined with.

    \b
    Examples:
      nlpx list tricks
      nlpx list losses --json | jq -r .name
      nlpx list optimizers
    """
    from nlpx.configuration.listing import listing
    from nlpx.configuration.registry import unknown
    from nlpx.errors import UsageError

    if kind not in KINDS:
        message, hint = unknown("kind", kind, KINDS)
        raise UsageError(message, hint=hint)
    Console(json=json, quiet=quiet).listing(listing(kind))
