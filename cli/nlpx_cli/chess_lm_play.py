"""`nlpx chess-lm play` and `uci`: a model at the other side of the board."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nlpx.seed import LARGEST_SEED
from nlpx_cli.chess_lm_model import SHIPPED, Fen, Player, Search
from nlpx_cli.console import Console
from nlpx_cli.options import Device, Json, Quiet, writable_file

if TYPE_CHECKING:
    from nlpx.xiangqi.model.move_model import MoveModel
    from nlpx.xiangqi.play.session import Event

Side = Literal["red", "black", "none"]
Pieces = Literal["chinese", "unicode", "ascii"]
Temperature = Annotated[
    float, typer.Option("--temperature", help="0: the likeliest move; 1: as the model draws.", min=0, max=5)
]
Seed = Annotated[int, typer.Option("--seed", help="Of what is drawn.", min=0, max=LARGEST_SEED)]
SEARCH = 2  # the shipped model by itself loses to a player that takes what it can, and with it wins


def add_commands(group: typer.Typer) -> None:
    """Add the commands that play to `nlpx chess-lm`."""
    group.command("play")(play)
    group.command("uci")(uci)


def play(
    model: Player = SHIPPED,
    side: Annotated[Side, typer.Option("--side", help="Yours; none: the model plays both.")] = "red",
    search: Search = SEARCH,
    temperature: Temperature = 0.0,
    top: Annotated[int, typer.Option("--top", help="Of the model's ranked moves, how many to show.", min=0)] = 3,
    pieces: Annotated[Pieces, typer.Option("--pieces", help="How to draw them.")] = "chinese",
    fen: Fen = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save", callback=writable_file, help="Write the game there as PGN in the end.", metavar="FILE.pgn"
        ),
    ] = None,
    seed: Seed = 7,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Play against a model.

    Type moves as ICCS (h2e2, H2-E2) or Chinese (炮二平五), or `help`. Lines
    may come from a pipe. --quiet: only the model's moves and the result.

    \b
    Examples:
      nlpx chess-lm play
      nlpx chess-lm play --side black --search 0 --save game.pgn
      echo "炮二平五" | nlpx chess-lm play --quiet
      nlpx chess-lm play --side none --temperature 0.5 --json
    """
    from nlpx.xiangqi.model.move_model import MoveModel
    from nlpx.xiangqi.play.choose import MoveChoice
    from nlpx.xiangqi.play.session import Session, Setting

    console = Console(json=json, quiet=quiet)
    people = {"red": (0,), "black": (1,), "none": ()}[side]
    how = MoveChoice(temperature=temperature, search=search)
    setting = Setting(people=people, how=how, top=top, style=pieces, fen=fen, seed=seed)
    session = Session(MoveModel.load(model, device or "auto"), setting)
    try:
        _show(session.begin(), console)
        if people:
            for line in _typed(console):
                _show(session.answer(line), console)
                if session.is_over:
                    break
    finally:
        if save is not None:
            session.write(save)
            console.note(f"saved: {save}")


def uci(
    model: Player = SHIPPED,
    search: Search = SEARCH,
    temperature: Temperature = 0.0,
    seed: Seed = 7,
    device: Device = None,
) -> None:
    """Serve a model to a Xiangqi program: UCI or UCCI on stdin.

    Understands uci, ucci, isready, position, go, stop, setoption, banmoves,
    quit; anything else is answered by an info string. Ends with the input.

    \b
    Examples:
      printf 'uci\\nposition startpos moves h2e2\\ngo\\nquit\\n' | nlpx chess-lm uci
    """
    from nlpx.xiangqi.play.choose import MoveChoice
    from nlpx.xiangqi.play.uci import Engine

    def load() -> MoveModel:
        from nlpx.xiangqi.model.move_model import MoveModel  # torch takes seconds, which some clients do not wait

        return MoveModel.load(model, device or "auto")

    Console()
    how = MoveChoice(temperature=temperature, search=search)
    engine = Engine(load, how, _write_line, seed=seed)
    for line in _lines():
        if not engine.answer(line):
            break


def _write_line(line: str) -> None:
    print(line, flush=True)


def _lines() -> Iterable[str]:
    """Stdin line by line as they come; bytes that are no text are replaced."""
    with suppress(AttributeError):  # a stream that a test put there
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
    return iter(sys.stdin.readline, "")


def _typed(console: Console) -> Iterator[str]:
    """The lines a person types, with a prompt on stderr where that is a terminal."""
    asks = sys.stdin.isatty() and console.mode == "text"
    lines = iter(_lines())
    while True:
        if asks:
            print("> ", end="", file=sys.stderr, flush=True)
        line = next(lines, None)
        if line is None:
            return
        yield line


def _show(events: Iterator[Event], console: Console) -> None:
    for event in events:
        if console.mode == "json":
            console.rows([event.row] if event.row else [])
        elif console.mode == "quiet":
            if event.value is not None:
                console.text(event.value)
        else:
            console.text(event.text)
        sys.stdout.flush()
