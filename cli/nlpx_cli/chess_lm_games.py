"""`nlpx chess-lm import` and `stats`: collections of games."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nlpx_cli.console import Console
from nlpx_cli.options import Json, Quiet, writable_file

if TYPE_CHECKING:
    from nlpx.jobs.chess_lm.import_games import ImportFacts

Files = Annotated[
    list[str] | None, typer.Argument(help="Games: files, folders, patterns, or - for stdin.", metavar="FILE|DIR|-")
]
Encoding = Annotated[
    str, typer.Option("--encoding", help="Of the files, such as gb18030; auto: by their bytes.", metavar="NAME")
]


def add_commands(group: typer.Typer) -> None:
    """Add the commands that read games."""
    group.command("import")(import_games)
    group.command("stats")(stats)


def import_games(
    files: Files = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", callback=writable_file, help="The file to write.  [default: stdout]", metavar="FILE"
        ),
    ] = None,
    encoding: Encoding = "auto",
    min_plies: Annotated[int, typer.Option("--min-plies", help="Leave out shorter games.", min=1)] = 1,
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="Keep games with equal moves.")] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(
            "--rejects", callback=writable_file, help="A table of the games that were not taken.", metavar="FILE.tsv"
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with the first game that is not legal.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check games move by move and write them as JSON lines.

    Reads PGN with Chinese, ICCS or WXF moves, DhtmlXQ, JSON lines and lists
    of moves, one game a line; GB18030 and Big5 are recognised, packed files
    unpacked. Names file, game and ply of every game that breaks a rule.

    \b
    Examples:
      nlpx chess-lm import games.pgn -o games.jsonl
      echo "炮二平五 马8进7 马二进三" | nlpx chess-lm import - --quiet
    """
    from nlpx.jobs.chess_lm.import_games import ImportFacts, ImportSettings, imported, write_rejects
    from nlpx.xiangqi.formats.games import write_games

    console = Console(json=json, quiet=quiet)
    settings = ImportSettings(encoding=encoding, min_plies=min_plies, keep_duplicates=keep_duplicates, strict=strict)
    facts = ImportFacts()
    games = imported(games_or_stdin(files), console, settings=settings, facts=facts)
    try:
        if out is None or str(out) == "-":
            console.rows(game.row() for game in games)
        else:
            write_games(out, games)
            console.result({"path": str(out)} | facts.as_row(), value=out)
    finally:
        if rejects is not None:
            write_rejects(rejects, facts.rejected)
    _note(console, facts)


def stats(
    files: Files = None,
    depth: Annotated[int, typer.Option("--depth", help="Plies of the opening tree.", min=0, max=40)] = 4,
    top: Annotated[int, typer.Option("--top", help="Moves of a position, the most frequent.", min=1)] = 5,
    min_games: Annotated[int, typer.Option("--min-games", help="Leave out lines of fewer games.", min=1)] = 1,
    merge_mirrored: Annotated[
        bool, typer.Option("--merge-mirrored", help="Count a game and its mirror image as one line.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", callback=writable_file, help="Draw the tree and the lengths of games.", metavar="FILE.png"
        ),
    ] = None,
    encoding: Encoding = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count games, results and lengths, and show the opening tree.

    Each line of the tree has its games, the fraction of the games that
    came to the position before, and Red's mean score (1 a win, 0.5 a draw).

    \b
    Examples:
      nlpx chess-lm stats games.jsonl --depth 6 --min-games 2
      nlpx chess-lm stats games.pgn --merge-mirrored --plot openings.png
    """
    from nlpx.jobs.chess_lm import stats as chess_stats

    console = Console(json=json, quiet=quiet)
    found = chess_stats.collect(
        games_or_stdin(files), console, encoding=encoding, depth=depth, merge_mirrored=merge_mirrored
    )
    rows = chess_stats.openings(found, depth=depth, num_least=min_games, num_most=top)
    if plot is not None and chess_stats.plot(found, rows, plot, console):
        console.note(f"drawn: {plot}")
    figures = found.as_row()
    if json or quiet:
        console.result(figures | {"openings": rows}, value=figures["games"])
    else:
        for line in _summary(figures):
            console.note(line)
        console.listing([_tree_line(row) for row in rows])


def games_or_stdin(files: list[str] | None) -> list[str]:
    """The files that were named, else stdin. Raises UsageError if that is a terminal."""
    from nlpx.errors import UsageError

    if not files and sys.stdin.isatty():
        raise UsageError("no games: stdin is a terminal", hint="name a file, or pipe games into the command")
    return files or ["-"]


def _note(console: Console, facts: ImportFacts) -> None:
    left_out = [(facts.num_duplicates, "twice"), (facts.num_short, "too short"), (len(facts.rejected), "rejected")]
    text = "".join(f", {number:,} {what}" for number, what in left_out if number)
    console.note(f"{facts.num_games:,} games with {facts.num_plies:,} plies{text}")


def _summary(figures: dict[str, Any]) -> Iterator[str]:
    plies, results = figures["plies"], figures["results"]
    text = ", ".join(f"{result} {count:,} ({count / figures['games']:.1%})" for result, count in results.items())
    yield f"{figures['games']:,} games: {text}"
    yield f"plies: {plies['min']} to {plies['max']}, median {plies['median']:g}, mean {plies['mean']:g}"
    if figures["red_score"] is not None:
        yield f"Red's score from the start: {figures['red_score']:.1%}"


def _tree_line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "opening": "  " * (row["ply"] - 1) + row["chinese"],
        "move": row["move"],
        "games": f"{row['games']:,}",
        "fraction": f"{row['fraction']:.1%}",
        "red score": "-" if row["red_score"] is None else f"{row['red_score']:.1%}",
    }
