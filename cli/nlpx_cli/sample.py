"""`nlpx sample-gibbs`, short `nlpx sample`: text from a masked language model."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nlpx.seed import LARGEST_SEED
from nlpx_cli.console import Console
from nlpx_cli.options import Encoder, Encoding, Json, Quiet, writable_file

if TYPE_CHECKING:
    from nlpx.jobs.sample.record import Record

Steps = Annotated[int, typer.Option("--steps", help="Steps of each chain; the first half is not printed.")]
Chains = Annotated[int | None, typer.Option("--chains", help="Texts side by side.  [default: 8]", metavar="N")]
Length = Annotated[
    str | None, typer.Option("--length", help="Tokens of a text: 20, or 8:32.  [default: 8:32]", metavar="A:B")
]
From = Annotated[
    str | None, typer.Option("--from", help="Start here; only its [MASK]s change, if it has any.", metavar="TEXT")
]
Keep = Annotated[
    list[str] | None, typer.Option("--keep", help="Keep these characters, such as 0:4. Repeatable.", metavar="A:B")
]
Rewrite = Annotated[
    str | None, typer.Option("--rewrite", help="One chain a line; every line comes back.", metavar="FILE|-")
]
Temperature = Annotated[float, typer.Option("--temperature", help="0: always the most probable token.")]
Anneal = Annotated[bool, typer.Option("--anneal", help="Let the temperature fall to 0; print the last state.")]
TopK = Annotated[int | None, typer.Option("--top-k", help="Draw from the K most probable tokens.", metavar="K")]
Block = Annotated[int, typer.Option("--block", help="Positions drawn in one step, as if independent.", metavar="N")]
Moves = Annotated[bool, typer.Option("--moves", help="Replace, insert, delete: the length may change.")]
Diagnostics = Annotated[bool, typer.Option("--diagnostics", help="Print on stderr how well the chains mix.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.", min=0, max=LARGEST_SEED)]
Precision = Literal["auto", "float32", "bfloat16"]

# Rare ones; the page of the command has them all.
TopP = Annotated[float | None, typer.Option("--top-p", help="Draw from the most probable tokens of this mass.",
                                            metavar="P", hidden=True)]  # fmt: skip
BurnIn = Annotated[int | None, typer.Option("--burn-in", help="Steps that are not printed.", hidden=True)]
Thin = Annotated[int | None, typer.Option("--thin", help="Print every Nth state.", hidden=True)]
Allow = Annotated[list[str] | None, typer.Option("--allow", help="Draw this token after all.", hidden=True)]
Ban = Annotated[list[str] | None, typer.Option("--ban", help="Never draw this token.", hidden=True)]
Unique = Annotated[bool, typer.Option("--unique", help="Print no text twice.", hidden=True)]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot", callback=writable_file, help="Draw the traces into this PNG.", metavar="FILE.png", hidden=True
    ),
]
Format = Annotated[Precision, typer.Option("--precision", help="Number format of the model.", hidden=True)]
HiddenDevice = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", hidden=True)]


def register(app: typer.Typer) -> None:
    """Add `nlpx sample`, and its long name."""
    app.command("sample")(sample)
    app.command("sample-gibbs", hidden=True)(sample)


def sample(
    steps: Steps = 100,
    model: Encoder = "char-tiny",
    chains: Chains = None,
    length: Length = None,
    from_: From = None,
    keep: Keep = None,
    rewrite: Rewrite = None,
    temperature: Temperature = 1.0,
    anneal: Anneal = False,
    top_k: TopK = None,
    block: Block = 1,
    moves: Moves = False,
    diagnostics: Diagnostics = False,
    seed: Seed = 7,
    json: Json = False,
    quiet: Quiet = False,
    top_p: TopP = None,
    burn_in: BurnIn = None,
    thin: Thin = None,
    allow: Allow = None,
    ban: Ban = None,
    unique: Unique = False,
    plot: Plot = None,
    precision: Format = "auto",
    encoding: Encoding = "utf-8",
    device: HiddenDevice = None,
) -> None:
    """Draw text from any masked language model.

    Gibbs sampling: a position is hidden and drawn anew from the model's
    conditional, again and again; samples are printed as they are drawn. The
    conditionals of a masked model belong to no one joint distribution, so the
    chain has no exact target. --block N is faster and less exact: its
    positions, far apart, are drawn as if none depended on another.
    `nlpx sample-gibbs` is the same command. Rarer options, such as --top-p,
    --burn-in, --thin, --ban, --unique and --plot, stand in its documentation.

    \b
    Examples:
      nlpx sample --steps 100
      nlpx sample --from '今天[MASK][MASK]很好' --json
      echo 今天天气很好 | nlpx sample --rewrite - --steps 3
      nlpx sample-gibbs --model word-tiny --anneal --diagnostics
    """
    from nlpx.jobs.sample import rewrite as rewrite_lines
    from nlpx.jobs.sample import sample
    from nlpx.jobs.sample.record import Record
    from nlpx.jobs.sample.settings import Settings

    console = Console(json=json, quiet=quiet)
    settings = Settings(
        steps=steps,
        chains=chains,
        length=length,
        text=from_,
        keep=tuple(keep or ()),
        temperature=temperature,
        anneal=anneal,
        top_k=top_k,
        top_p=top_p,
        burn_in=burn_in,
        thin=thin,
        block=block,
        moves=moves,
        allow=tuple(allow or ()),
        ban=tuple(ban or ()),
        unique=unique,
        energy=json,
        seed=seed,
    )
    record = Record() if diagnostics or plot is not None else None
    where: dict[str, Any] = {"device": device or "auto", "precision": precision}
    if rewrite is None:
        _refuse_without_plots(plot)
        _print(console, sample(model, settings, record=record, **where))
    else:
        _refuse_diagnostics(record)
        _print(console, rewrite_lines(model, rewrite, settings, encoding=encoding, **where))
    if record is not None:
        _report(console, record, plot, wanted=diagnostics)


def _print(console: Console, rows: Iterable[Mapping[str, Any]]) -> None:
    if console.mode == "json":
        console.rows(rows)
        return
    for row in rows:
        console.text(row["text"])
        sys.stdout.flush()


def _refuse_diagnostics(record: Record | None) -> None:
    from nlpx.errors import UsageError

    if record is not None:
        hint = "the chain of a line is too short for diagnostics"
        raise UsageError("--diagnostics and --plot cannot go with --rewrite", hint=hint)


def _refuse_without_plots(plot: Path | None) -> None:
    from nlpx.errors import MachineError, install_hint
    from nlpx.report.plots import available

    if plot is not None and not available():
        raise MachineError("plots need matplotlib, which is not installed", hint=install_hint("plot"))


def _report(console: Console, record: Record, plot: Path | None, *, wanted: bool) -> None:
    if plot is not None:
        from nlpx.report.sampling import plot_chains

        traces = {number: (trace.steps, trace.values) for number, trace in record.traces.items()}
        plot_chains(traces, plot, first_shown=record.first_shown)
        console.note(f"plot: {plot}")
    if wanted and console.mode == "json":
        from json import dumps

        print(dumps({"diagnostics": record.summary()}, ensure_ascii=False), file=sys.stderr)
    elif wanted:
        console.table(*record.table())
