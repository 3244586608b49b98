"""`nlpx sample-gibbs`, short `nlpx sample`: text from a masked language model."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nlpx.seed import LARGEST_SEED
from nlpx_cli.console import Console
from nlpx_cli.options import Encoder, Encoding, Field, InputFormat, Json, Quiet, writable_file

if TYPE_CHECKING:
    from nlpx.jobs.sample.record import Record
    from nlpx.jobs.sample.rewriting import Report

Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", help="Steps of each chain.  [default: 100; of a line to rewrite, a tenth of its tokens]", metavar="N"
    ),
]
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
    str | None,
    typer.Option("--rewrite", help="Lines, or rows with a field: every one comes back.", metavar="FILE|-"),
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", help="0: always the most probable token.  [default: 1; with --rewrite 0.5]"),
]
OutputFormat = Literal["jsonl", "csv", "tsv", "parquet"]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", callback=writable_file, help="Write here instead of stdout.", metavar="FILE"),
]
FormatOfOutput = Annotated[
    OutputFormat | None,
    typer.Option("--format", help="Of the output.  [default: by the suffix of -o, else as the input]"),
]
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
    steps: Steps = None,
    model: Encoder = "char-tiny",
    chains: Chains = None,
    length: Length = None,
    from_: From = None,
    keep: Keep = None,
    rewrite: Rewrite = None,
    field: Field = "text",
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    out: Out = None,
    format_: FormatOfOutput = None,
    temperature: Temperature = None,
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
      nlpx sample --rewrite corpus.jsonl --field text -o rewritten.jsonl
      nlpx sample-gibbs --model word-tiny --anneal --diagnostics
    """
    from nlpx.data.rows.texts import Texts
    from nlpx.jobs.sample import rewriting, sample
    from nlpx.jobs.sample.record import Record
    from nlpx.jobs.sample.settings import Settings

    console = Console(json=json, quiet=quiet)
    settings = Settings(
        steps=100 if steps is None else steps,
        fraction=rewriting.FRACTION if rewrite is not None and steps is None else None,
        chains=chains,
        length=length,
        text=from_,
        keep=tuple(keep or ()),
        temperature=(1.0 if rewrite is None else rewriting.TEMPERATURE) if temperature is None else temperature,
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
    where: dict[str, Any] = {"device": device or "auto", "precision": precision}
    if rewrite is None:
        _refuse_without_plots(plot)
        record = Record() if diagnostics or plot is not None else None
        _deliver(console, sample(model, settings, record=record, **where), out, format_)
        if record is not None:
            _report(console, record, plot, wanted=diagnostics)
        return
    _refuse_plot(plot)
    given = Texts(rewrite, field, input_format, encoding)
    report = rewriting.Report(is_measured=diagnostics)
    rows = rewriting.rewrite(model, given, settings, report=report, **where)
    _deliver(console, rows, out, format_, of_rows=given.row_format)
    _report_rewriting(console, report)


def _deliver(
    console: Console,
    rows: Iterable[Mapping[str, Any]],
    out: Path | None,
    chosen: OutputFormat | None,
    *,
    of_rows: str | None = None,
) -> None:
    """Print texts, or the rows whose format the input, an option or the suffix of the output says."""
    from nlpx.data.rows.writing import RowWriter, write_rows
    from nlpx.errors import UsageError

    suffix = "" if out is None else out.suffix.removeprefix(".")
    as_json = "jsonl" if console.mode == "json" else None
    form: Any = chosen or (suffix if suffix in ("jsonl", "csv", "tsv", "parquet") else None) or as_json or of_rows
    if form == "parquet" and out is None:
        if chosen is not None:
            raise UsageError("Parquet cannot go to stdout", hint="-o rewritten.parquet")
        form = "jsonl"
    if out is not None and form is not None:
        write_rows(rows, out, format=form)
    elif out is not None:
        _write_lines(rows, out)
    elif form is not None:
        RowWriter(sys.stdout, format=form, flush=True).write_all(rows)
    else:
        for row in rows:
            console.text(row["text"])
            sys.stdout.flush()


def _write_lines(rows: Iterable[Mapping[str, Any]], out: Path) -> None:
    from nlpx.io import write_atomically

    with write_atomically(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{row['text']}\n" for row in rows)


def _refuse_plot(plot: Path | None) -> None:
    from nlpx.errors import UsageError

    if plot is not None:
        raise UsageError("--plot cannot go with --rewrite", hint="the chain of a line is too short for a trace")


def _refuse_without_plots(plot: Path | None) -> None:
    from nlpx.errors import MachineError, install_hint
    from nlpx.report.plots import available

    if plot is not None and not available():
        raise MachineError("plots need matplotlib, which is not installed", hint=install_hint("plot"))


def _report_rewriting(console: Console, report: Report) -> None:
    facts = report.facts()
    if facts["kept"] is not None:
        text = f"{facts['texts']:,} texts, {facts['changed']:,} changed, {facts['kept']:.1%} of the characters kept"
        if report.is_measured:
            before, after = (facts[f"pseudo_perplexity_{when}"] for when in ("before", "after"))
            text += f"; pseudo-perplexity {before:.4g} before, {after:.4g} after"
        console.note(text)
    if report.num_without_text:
        verb = "row has no text and stays as it is" if report.num_without_text == 1 else "rows have no text and stay"
        console.warn(f"{report.num_without_text:,} {verb}")
    if report.is_measured and console.mode == "json":
        from json import dumps

        print(dumps({"diagnostics": facts}, ensure_ascii=False), file=sys.stderr)


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
        for remark in record.remarks():
            console.note(remark)
