"""A few short Xiangqi games of our own in every format, for several test files."""

from __future__ import annotations

from pathlib import Path

from nlpx.xiangqi.formats.games import Game, write_games
from nlpx.xiangqi.formats.notation import parse_iccs
from nlpx.xiangqi.formats.pgn import write_pgn

MOVES = [
    "h2e2 h9g7 h0g2 i9h9 i0h0 b9c7 g3g4 c6c5 b0c2 c9e7",
    "h2e2 h9g7 h0g2 i9h9 b0c2 b9c7 c3c4 g6g5",
    "h2e2 h7e7 h0g2 h9g7 i0h0 i9i8 b0c2 b9c7 c3c4 i8d8",
    "b2e2 b9c7 b0c2 a9b9 a0b0 h9g7",
    "c3c4 b7c7 h2e2 c9e7 h0g2 c6c5",
    "g0e2 h7d7 h0f1 h9g7 i0h0",
]
RESULTS = ["1-0", "1/2-1/2", "0-1", "1-0", "*", "0-1"]


def games() -> list[Game]:
    """Six games from the usual start."""
    found = []
    for number, (moves, result) in enumerate(zip(MOVES, RESULTS, strict=True), start=1):
        tags = {"red": f"红方{number}", "black": f"黑方{number}"}
        found.append(Game([parse_iccs(text) for text in moves.split()], result, tags=tags))
    return found


def pgn() -> str:
    """The games as PGN in Chinese notation."""
    return "\n".join(write_pgn(game.moves, result=game.result, tags=game.tags) for game in games())


def write(folder: Path) -> None:
    """`games.pgn` and `games.jsonl`, what the documentation speaks of."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "games.pgn").write_text(pgn(), encoding="utf-8")
    write_games(folder / "games.jsonl", games())
