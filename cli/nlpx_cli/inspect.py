"""`nlpx inspect`: what a checkpoint is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Json, complete_devices, complete_models

Checkpoint = Annotated[
    str,
    typer.Argument(
        help="A checkpoint directory, file, run, or hub name.", metavar="DIR|NAME", autocompletion=complete_models
    ),
]
Family = Annotated[
    str | None, typer.Option("--family", help="Read it as this family, if it names none.", metavar="NAME")
]


def register(app: typer.Typer) -> None:
    """Add `nlpx inspect`."""
    app.command("inspect")(inspect)


def inspect(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A checkpoint or run, or, with --cost, a preset too.",
            metavar="DIR|NAME|PRESET",
            autocompletion=complete_models,
        ),
    ],
    family: Family = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor and how it is used.")] = False,
    cost: Annotated[bool, typer.Option("--cost", help="Print what it costs, next to a BERT of its shape.")] = False,
    length: Annotated[
        list[int] | None,
        typer.Option("--length", help="Tokens at which --cost measures. Repeatable.  [default: 128, 512]", min=1),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="Where --cost measures: auto, cpu, cuda, cuda:N or mps.  [default: auto]",
            metavar="NAME",
            autocompletion=complete_devices,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Describe a checkpoint and what loading it would do.

    Reads safetensors, PyTorch files (weights only) and TensorFlow bundles.
    Warns of known problems of published checkpoints. With --cost, the disk
    space, memory and time it takes, also for the new model of a preset.

    \b
    Examples:
      nlpx inspect path/to/checkpoint
      nlpx inspect path/to/checkpoint --json | jq .config.position
      nlpx inspect --cost path/to/checkpoint
    """
    console = Console(json=json)
    if cost:
        _cost(console, checkpoint, family=family, lengths=length, device=device)
        return
    from nlpx.jobs.inspect import inspect

    _refuse_without_cost(length=length, device=device)
    facts = inspect(checkpoint, family=family)
    console.result(facts, value="" if json else _text(facts, tensors=tensors))


def _refuse_without_cost(**options: Any) -> None:
    from nlpx.errors import UsageError

    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name} has no effect without --cost", hint="nlpx inspect --cost ...")


def _cost(console: Console, name: str, *, family: str | None, lengths: list[int] | None, device: str | None) -> None:
    from nlpx.jobs.inspect.cost import LENGTHS, cost

    card = cost(name, family=family, lengths=lengths or LENGTHS, device=device or "auto")
    if console.mode == "json":
        console.result(card, value="")
        return
    measured = card["measured_on"]
    console.listing(_cost_rows(card))
    console.note(
        f"one text at a time, float32, {measured['device']}, {measured['threads']} threads, "
        f"median of {measured['rounds']}, random weights"
    )
    for remark in card["remarks"]:
        console.note(f"Note: {remark}")


def _cost_rows(card: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(title: str, unit: float, *keys: str) -> None:
        values = [_at(card[column], keys) for column in ("model", "bert", "ratio")]
        shown = [f"{value:,}" if unit == 1 else _amount(value / unit) for value in values[:2]]
        ratio = "-" if values[2] is None else f"{values[2]:.2f}"
        rows.append({"cost": title, "this": shown[0], "BERT of its shape": shown[1], "ratio": ratio})

    for part in ("total", "embeddings", "blocks", "heads", "as_computed"):
        add("parameters" if part == "total" else f"  {part.replace('_', ' ')}", 1, "parameters", part)
    for part, title in (
        ("disk", "on disk, MB"),
        ("float32", "weights in memory, float32, MB"),
        ("bfloat16", "weights in memory, bfloat16, MB"),
        ("training", "training with AdamW, MB"),
    ):
        add(title, 1e6, "bytes", part)
    for length in card["model"]["lengths"]:
        for part, title, unit in (
            ("flops_forward", "MFLOPs a token, forward", 1e6),
            ("flops_training", "MFLOPs a token, training", 1e6),
            ("seconds", "forward, ms", 1e-3),
            ("peak_bytes", "peak memory, MB", 1e6),
        ):
            add(f"{title}, {length} tokens", unit, "lengths", length, part)
    return rows


def _amount(value: float) -> str:
    return f"{value:,.1f}" if value >= 100 else f"{value:.3g}"


def _at(card: dict[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = card
    for key in keys:
        value = value[key]
    return value


def _text(facts: dict[str, Any], *, tensors: bool) -> str:
    lines = [
        f"family      {facts['family'] or 'none of ours'} ({facts['reason']})",
        f"parameters  {facts['parameters']:,}" + _encoder(facts),
        f"tokenizer   {facts['tokenizer']['reason']}",
    ]
    if "used" in facts:
        lines += [
            f"stored      {facts['stored_tensors']} tensors, {', '.join(facts['stored_dtypes'])}, {facts['layout']}",
            f"loading     {len(facts['used'])} used, {len(facts['missing'])} missing, "
            f"{len(facts['unexpected'])} unexpected, {len(facts['reshaped'])} reshaped",
        ]
        for key in ("missing", "unexpected", "ignored"):
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
