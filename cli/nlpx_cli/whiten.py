"""`nlpx whiten`: make sentence vectors comparable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Json, Quiet, complete_models, writable, writable_file


def register(app: typer.Typer) -> None:
    """Add `nlpx whiten`."""
    app.command("whiten")(whiten)


def whiten(
    vectors: Annotated[
        str | None, typer.Argument(help="A .npy file of shape (rows, columns), or - for stdin.", metavar="[FILE|-]")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            callback=writable,
            help="The .npy to write, or -.  [default: FILE.whitened.npy]",
            metavar="FILE",
        ),
    ] = None,
    fit: Annotated[
        list[str] | None, typer.Option("--fit", help="Fit on these vectors instead. Repeatable.", metavar="FILE")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            callback=writable_file,
            help="Where the map goes.  [default: FILE.whitening.safetensors]",
            metavar="FILE",
        ),
    ] = None,
    load: Annotated[Path | None, typer.Option("--load", help="Apply this earlier map.", metavar="FILE")] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option("--merge", help="Add what this earlier map was fitted on. Repeatable.", metavar="FILE"),
    ] = None,
    dim: Annotated[int | None, typer.Option("--dim", help="Keep so many dimensions.  [default: all]", min=1)] = None,
    variance: Annotated[
        float | None, typer.Option("--variance", help="Keep as many as explain this fraction, such as 0.95.")
    ] = None,
    beta: Annotated[float, typer.Option("--beta", help="How much of the mean is taken off.")] = 1.0,
    gamma: Annotated[float, typer.Option("--gamma", help="How far variances are made equal; 0: only turn.")] = 1.0,
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale every result to length 1.")] = False,
    fold: Annotated[
        str | None,
        typer.Option(
            "--fold",
            help="Copy this model to -o DIR, with the map as last layer.",
            metavar="MODEL",
            autocompletion=complete_models,
        ),
    ] = None,
    pooling: Annotated[
        Literal["first-last-avg", "mean", "cls", "last", "pooler"] | None,
        typer.Option("--pooling", help="Of the vectors, for --fold.  [default: first-last-avg]", hidden=True),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", callback=writable_file, help="Draw the eigenvalues.", metavar="FILE.png")
    ] = None,
    engine: Annotated[
        Literal["local", "dask"], typer.Option("--engine", help="Where sums are formed.", hidden=True)
    ] = "local",
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Of a Dask cluster.", metavar="ADDRESS", hidden=True)
    ] = None,
    float64: Annotated[bool, typer.Option("--float64", help="No float32 products in the sums.", hidden=True)] = False,
    inspect: Annotated[
        Path | None, typer.Option("--inspect", help="Say what this map is, and nothing else.", metavar="FILE")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Whiten sentence vectors and write the transformed array.

    Fits a linear map on the vectors and applies it; prints the path of the
    result. Fit on many: ten rows for each dimension that is kept.

    \b
    Examples:
      nlpx whiten emb.npy
      nlpx whiten emb.npy --dim 8 -o small.npy
      nlpx whiten new.npy --load emb.whitening.safetensors

    `nlpx help whiten` has the rarer options.
    """
    from nlpx.embed.kernels import prefer_wide_kernels

    prefer_wide_kernels()  # before numpy
    from nlpx.embed.whitening import Choices
    from nlpx.jobs.whiten import Options, whiten
    from nlpx.jobs.whiten import inspect as facts_of

    console = Console(json=json, quiet=quiet)
    if inspect is not None:
        facts = facts_of(inspect, plot)
        console.result(facts, value=_text(facts))
        return
    choices = Choices(dim=dim, variance=variance, beta=beta, gamma=gamma)
    options = Options(
        fit=tuple(fit or ()),
        load=load,
        merge=tuple(merge or ()),
        save=save,
        out=out,
        normalize=normalize,
        fold=fold,
        pooling=pooling,
        plot=plot,
        engine=engine,
        scheduler=scheduler,
        float64=float64,
    )
    facts = whiten(vectors, choices, options, console)
    console.note(_text(facts))
    if facts["path"] != "-":
        console.result(facts, value=facts["path"] or facts["transform"])


def _text(facts: dict[str, Any]) -> str:
    needed = ", ".join(f"{dim} for {float(fraction):.0%}" for fraction, dim in facts["dimensions_for"].items())
    fitted = f"{facts['rows']:,} vectors of {facts['columns']} dimensions, products in {facts['precision']}"
    lines = [
        f"fitted on        {fitted}",
        f"kept             {facts['dim']} dimensions, {facts['explained_variance']:.2%} of the variance ({needed})",
        f"effective rank   {facts['effective_rank']:.1f}",
        f"mean cosine      {facts['mean_cosine_before']:.4f} before",
    ]
    if facts.get("mean_cosine_after") is not None:
        lines[-1] += f", {facts['mean_cosine_after']:.4f} after"
    return "\n".join([*lines, f"map              {facts['transform']}"] if facts["transform"] else lines)
