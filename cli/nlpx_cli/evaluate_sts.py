"""`nlpx evaluate sts`: how well a model's sentence vectors rank pairs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from nlpx.seed import LARGEST_SEED
from nlpx_cli.console import Console
from nlpx_cli.options import (
    Device,
    Encoder,
    Encoding,
    InputFormat,
    Json,
    PairFields,
    Quiet,
    two_fields,
    writable_file,
)


def sts(
    files: Annotated[
        list[str] | None, typer.Argument(help="Pairs with scores, or - for stdin.", metavar="[FILE...|-]")
    ] = None,
    model: Encoder = "sim-tiny",
    pooling: Annotated[
        list[str] | None,
        typer.Option("--pooling", help="Only this one. Repeatable.  [default: all there are]", metavar="NAME"),
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", help="Dimensions of the truncated maps.  [default: half]", min=1)
    ] = None,
    fit: Annotated[
        list[str] | None,
        typer.Option("--fit", help="Fit the maps on these texts or pairs instead. Repeatable.", metavar="FILE"),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Make a set of every value of this field.", metavar="FIELD")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Only rows whose `split` is this.", metavar="NAME")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only so many pairs of each set.", metavar="N", min=2)
    ] = None,
    field: PairFields = None,
    score_field: Annotated[
        str | None, typer.Option("--score-field", help="The score of rows.  [default: by name]", metavar="NAME")
    ] = None,
    input_format: InputFormat = None,
    encoding: Encoding = "utf-8",
    seed: Annotated[int, typer.Option("--seed", help="Of the resamples.", min=0, max=LARGEST_SEED)] = 7,
    plot: Annotated[
        Path | None, typer.Option("--plot", callback=writable_file, help="Draw the table here, as PNG.", metavar="FILE")
    ] = None,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Correlate cosines of sentence pairs with their scores.

    Spearman and Pearson times 100 with 95 % intervals, for every pooling:
    plain, whitened, whitened and truncated, only rotated and truncated.

    \b
    Examples:
      nlpx evaluate sts pairs.tsv
      nlpx evaluate sts pairs.jsonl --split dev --pooling mean --plot sts.png
    """
    from nlpx.errors import UsageError
    from nlpx.jobs.evaluate.sts import Settings, evaluate

    console = Console(json=json, quiet=quiet)
    if not files and sys.stdin.isatty():
        raise UsageError("no pairs: stdin is a terminal", hint="name a file, or pipe pairs into the command")
    settings = Settings(
        tuple(pooling or ()),
        dim,
        tuple(fit or ()),
        by,
        split,
        limit,
        two_fields(field),
        score_field,
        encoding,
        input_format,
        seed=seed,
    )
    result = evaluate(model, files or ["-"], settings, device=device or "auto", messages=console)
    if plot is not None:
        from nlpx.report.sts import plot_sts

        plot_sts(result, plot)
    if json:
        console.result(result, value="")
    elif quiet:
        console.result(result, value=_primary_metric(result))
    else:
        console.listing(list(_table(result)))


def _groups(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((one["name"], one) for one in result["sets"])
    if "mean" in result:
        yield "mean", result["mean"]
        yield "mean by size", result["weighted_mean"]


def _table(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, group in _groups(result):
        for pooling, columns in group["poolings"].items():
            for kind in ("spearman", "pearson"):
                row = {"set": name, "pairs": group["pairs"], "pooling": pooling, "correlation": kind}
                yield row | {column: _shown(found[kind]) for column, found in columns.items()}


def _shown(estimate: dict[str, float | None]) -> str:
    if estimate["value"] is None:
        return "-"
    value, low, high = (100 * (estimate[key] or 0.0) for key in ("value", "low", "high"))
    return f"{value:.2f} ({low:.1f} to {high:.1f})"


def _primary_metric(result: dict[str, Any]) -> str:
    """Spearman of the first pooling without a map, over all sets."""
    *_, (_, last) = _groups(result)
    value = next(iter(last["poolings"].values()))["plain"]["spearman"]["value"]
    return "-" if value is None else f"{value:.4f}"
