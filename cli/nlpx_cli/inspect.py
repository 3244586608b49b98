"""`nlpx inspect`: what a checkpoint is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Json

Checkpoint = Annotated[str, typer.Argument(help="A checkpoint directory, file, or hub name.", metavar="DIR|NAME")]
Family = Annotated[
    str | None, typer.Option("--family", help="Read it as this family, where it does not say.", metavar="NAME")
]


def register(app: typer.Typer) -> None:
    """Add `nlpx inspect`."""
    app.command("inspect")(inspect)


def inspect(
    checkpoint: Checkpoint,
    family: Family = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor and what becomes of it.")] = False,
    json: Json = False,
) -> None:
    """Say what a checkpoint is and what loading it would do.

    Reads safetensors, PyTorch files (weights only) and TensorFlow bundles.
    Warns of what is known to go wrong with published checkpoints.

    \b
    Examples:
      nlpx inspect path/to/checkpoint
      nlpx inspect path/to/checkpoint --json | jq .config.position
    """
    from nlpx.jobs.inspect import inspect

    console = Console(json=json)
    facts = inspect(checkpoint, family=family)
    console.result(facts, value="" if json else _text(facts, tensors=tensors))


def _text(facts: dict[str, Any], *, tensors: bool) -> str:
    lines = [
        f"family      {facts['family'] or 'none of ours'} ({facts['reason']})",
        f"parameters  {facts['parameters']:,}" + _encoder(facts),
        f"tokenizer   {facts['tokenizer']['reason']}",
    ]
    if facts["family"]:
        lines += [
            f"stored      {facts['stored_tensors']} tensors, {', '.join(facts['stored_dtypes'])}, {facts['layout']}",
            f"loading     {len(facts['used'])} used, {len(facts['missing'])} missing, "
            f"{len(facts['left_over'])} left over, {len(facts['reshaped'])} reshaped",
        ]
        for key in ("missing", "left_over", "ignored"):
            lines += [f"  {key.replace('_', ' ')}: {name}" for name in facts[key]] if facts[key] else []
        lines += [f"  reshaped: {name} {change}" for name, change in facts["reshaped"].items()]
        if tensors:
            lines += [f"  used: {ours} <- {', '.join(theirs)}" for ours, theirs in facts["used"].items()]
    lines += ["configuration", *(f"  {key}: {_shown(value)}" for key, value in facts["config"].items())]
    lines += [f"warning: {warning}" for warning in facts["warnings"]]
    return "\n".join(lines)


def _encoder(facts: dict[str, Any]) -> str:
    return f" ({facts['encoder_parameters']:,} without heads)" if "encoder_parameters" in facts else ""


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
