"""`nlpx chess-lm train`, `best` and `evaluate`: a language model of moves: train it, use it, measure it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from nlpx.seed import LARGEST_SEED
from nlpx_cli import training
from nlpx_cli.chess_lm_games import games_or_stdin
from nlpx_cli.console import Console
from nlpx_cli.options import (
    BatchSize,
    Device,
    DryRun,
    Epochs,
    Json,
    LearningRate,
    MaxLength,
    Out,
    Overwrite,
    Preset,
    Quiet,
    Resume,
    Seed,
    Set,
    Steps,
    Verbose,
    complete_models,
)
from nlpx_cli.training import Command, Options, overridden

SHIPPED = "xiangqi-tiny"

Data = Annotated[
    list[str] | None, typer.Option("--data", help="A file of games, or - for stdin. Repeatable.", metavar="FILE")
]
More = Annotated[
    list[str] | None,
    typer.Argument(help="More of --data, as a shell writes a pattern out.", metavar="FILE", hidden=True),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A text model or a model of moves, or `new`.  [default: new]",
        metavar="MODEL",
        autocompletion=complete_models,
    ),
]
Tokens = Annotated[
    str | None, typer.Option("--tokens", help="moves or characters.  [default: the preset's]", metavar="FORM")
]
Player = Annotated[
    str,
    typer.Option(
        "--model",
        help="A shipped model, a run, or a checkpoint directory.",
        metavar="MODEL",
        autocompletion=complete_models,
    ),
]
Fen = Annotated[
    str | None, typer.Option("--fen", help="The position before the moves.  [default: the usual start]", metavar="FEN")
]
Search = Annotated[int, typer.Option("--search", help="Plies to look ahead at the likeliest moves.", min=0, max=4)]


def add_commands(group: typer.Typer) -> None:
    """Add the commands that train, use and measure models to `nlpx chess-lm`."""
    group.command("train")(train)
    group.command("best")(best)
    group.command("evaluate")(evaluate)


def train(
    more: More = None,
    data: Data = None,
    model: Start = None,
    tokens: Tokens = None,
    epochs: Epochs = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    max_length: MaxLength = None,
    preset: Preset = None,
    set_: Set = None,
    seed: Seed = None,
    device: Device = None,
    out: Out = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a language model of moves and print the run folder.

    Every move of every game is checked. A tenth of the games is held
    out, always the same ones. checkpoints/best plays.

    \b
    Examples:
      nlpx chess-lm train --data games.jsonl
      nlpx chess-lm train --data games.jsonl --model char-tiny --dry-run
      nlpx chess-lm train --data games.jsonl --tokens characters
      nlpx chess-lm train --resume last --set train.steps=40
    """
    from nlpx.configuration.presets import Flag
    from nlpx.jobs.chess_lm import Config, plan, preset_for
    from nlpx.jobs.chess_lm import train as run

    console = Console(json=json, quiet=quiet, verbose=verbose)
    options = Options(
        preset=preset,
        set_=set_,
        epochs=epochs,
        steps=steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_length=max_length,
        seed=seed,
        device=device,
        out=out,
        resume=resume,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    flags = {
        "data.paths": Flag([*(data or []), *(more or [])] or None, "--data"),
        "data.tokens": Flag(tokens, "--tokens"),
        "model.name": Flag(model, "--model"),
    }
    command = Command(
        schema=Config,
        default_preset=lambda: preset_for(model or overridden(options.overrides, "model.name"), tokens),
        plan=plan,
        run=run,
        score="best score",
        following=lambda folder: f"nlpx chess-lm play --model {folder}",
    )
    training.train(command, options, flags, console)


def best(
    game: Annotated[
        str | None, typer.Argument(help="Moves so far, or - for stdin: a game a line.", metavar="[MOVES|-]")
    ] = None,
    model: Player = SHIPPED,
    fen: Fen = None,
    top: Annotated[int, typer.Option("--top", help="Moves to show.", min=1)] = 5,
    search: Search = 0,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank the legal moves of a position by a model.

    Moves are ICCS (h2e2, H2-E2) or Chinese (炮二平五). On stdin a line is
    a game, an empty line the start; each gives a line: moves and their
    probabilities. --quiet: only the best move.

    \b
    Examples:
      nlpx chess-lm best "h2e2 h9g7"
      nlpx chess-lm best "炮二平五" --top 3 --json
      echo "h2e2 h9g7" | nlpx chess-lm best - --quiet
      nlpx chess-lm best --fen "3k5/9/9/9/9/9/9/9/4A4/3AK2R1 w" --search 2
    """
    from nlpx.errors import UsageError
    from nlpx.jobs.chess_lm.best import NO_HISTORY, best_moves, read_game
    from nlpx.xiangqi.model.move_model import MoveModel
    from nlpx.xiangqi.play.choose import MoveChoice

    console = Console(json=json, quiet=quiet)
    from_stdin = game == "-" or (game is None and fen is None)
    if from_stdin and game is None and sys.stdin.isatty():
        raise UsageError("no moves: stdin is a terminal", hint='give the moves so far: "h2e2 h9g7", or "" for none')
    if fen is not None and not search:
        console.warn(NO_HISTORY)
    lines = _numbered(sys.stdin) if from_stdin else [("", game or "")]
    games = (read_game(text, fen, place=place) for place, text in lines)
    loaded = MoveModel.load(model, device or "auto")
    for row in best_moves(loaded, games, top=top, how=MoveChoice(search=search)):
        _show(row, console, as_line=from_stdin)


def _numbered(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((f"line {number}: ", line.strip()) for number, line in enumerate(lines, start=1))


def _show(row: dict[str, Any], console: Console, *, as_line: bool) -> None:
    if console.mode == "json":
        console.rows([row])
    elif console.mode == "quiet":
        console.text(row["best"] or "-")
    elif as_line:
        console.text("  ".join(f"{found['move']} {100 * found['probability']:.1f}%" for found in row["candidates"]))
    elif not row["candidates"]:
        console.text(f"no legal move: {row['outcome']}")
    else:
        console.listing([_cells(found) for found in row["candidates"]])
    sys.stdout.flush()


def _cells(found: dict[str, Any]) -> dict[str, Any]:
    shown = {"move": found["move"], "chinese": found["chinese"], "probability": f"{100 * found['probability']:.1f} %"}
    return shown | ({"value": f"{found['value']:+.2f}"} if "value" in found else {})


def evaluate(
    files: Annotated[list[str] | None, typer.Argument(help="Games of masters, or - for stdin.", metavar="FILE")] = None,
    model: Player = SHIPPED,
    games: Annotated[int, typer.Option("--games", help="Games of masters to compare with, at most.", min=1)] = 200,
    all_games: Annotated[
        bool, typer.Option("--all-games", help="Also those that were not held out in training.")
    ] = False,
    written: Annotated[int, typer.Option("--written", help="Games the model writes by itself.", min=0)] = 64,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", help="random, capture, alpha-beta-1, -2 or -3. Repeatable.", metavar="PLAYER"),
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", help="Pairs of games against each; 0: none.", min=0)] = 10,
    positions: Annotated[
        bool, typer.Option("--positions", help="FILE holds positions with a line: count those solved.")
    ] = False,
    search: Search = 0,
    temperature: Annotated[float, typer.Option("--temperature", help="In matches; 0: the best.", min=0, max=5)] = 0.0,
    encoding: Annotated[str, typer.Option("--encoding", help="Of the files, such as gb18030.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Of every random choice.", min=0, max=LARGEST_SEED)] = 7,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model: masters' moves, the rules, matches.

    How well it predicts masters' moves, by phase; how long it stays legal with
    nothing masked; openings; Elo against simple players, with an interval.

    \b
    Examples:
      nlpx chess-lm evaluate games.jsonl --games 20 --pairs 1
      nlpx chess-lm evaluate games.jsonl --against alpha-beta-2 --pairs 2
      nlpx chess-lm evaluate positions.jsonl --positions --search 2
    """
    from nlpx.jobs.chess_lm.evaluate import OPPONENTS, Settings, solve
    from nlpx.jobs.chess_lm.evaluate import evaluate as measure
    from nlpx.xiangqi.model.move_model import MoveModel
    from nlpx.xiangqi.play.choose import MoveChoice

    console = Console(json=json, quiet=quiet)
    paths = games_or_stdin(files)
    settings = Settings(
        encoding=encoding,
        num_games=games,
        every_game=all_games,
        written_games=written,
        pairs=pairs,
        seed=seed,
        opponents=_known_players(against) if against else OPPONENTS,
    )
    how, loaded = MoveChoice(temperature=temperature, search=search), MoveModel.load(model, device or "auto")
    if positions:
        console.listing(solve(loaded, paths, settings, how))
        return
    result = measure(loaded, paths, settings, how, console)
    if json or quiet:
        console.result(result, value=f"{result['masters']['all']['top_1']:.4f}")
    else:
        _show_figures(result, console)


def _known_players(names: list[str]) -> tuple[str, ...]:
    from nlpx.xiangqi.play.players import check_name

    for name in names:
        check_name(name)
    return tuple(names)


def _show_figures(result: dict[str, Any], console: Console) -> None:
    console.listing([{"masters' moves": name} | figures for name, figures in result["masters"].items()])
    written, openings = result["written"], result["openings"]
    if written["games"]:
        console.text("")
        console.listing([{name: written[name] for name in written if name != "by_ply"}])
        console.text("")
        console.listing(written["by_ply"])
        console.text("")
        console.listing([{"openings, plies": openings["plies"]} | {k: v for k, v in openings.items() if k != "plies"}])
    if result["matches"]:
        console.text("")
        console.listing([{k: v for k, v in match.items() if k != "ended"} for match in result["matches"]])
