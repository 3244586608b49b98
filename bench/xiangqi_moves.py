"""Xiangqi: legal moves per position against pyffish, and games read per second with every move checked.

Positions are those of random master games, every one compared with pyffish before anything is timed. pyffish (GPL) is
never a dependency: where it is not installed, ours is measured alone. The rules need the standard library only, so an
environment with nothing but pyffish will do (goal: 20x per position; 2,000 games a second from PGN in Chinese
notation).

    python -m venv oracle && oracle/bin/pip install pyffish
    PYTHONPATH=toolkit oracle/bin/python bench/xiangqi_moves.py [--data DIR] [--games 2000] [--rounds 7]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from rounds import SHARED, Variant, in_process, markdown, ratios, spread

from nlpx.jobs.chess_lm.import_games import ImportFacts, ImportSettings, imported
from nlpx.messages import Silent
from nlpx.xiangqi.formats.games import Game, read_games, write_games
from nlpx.xiangqi.formats.notation import iccs
from nlpx.xiangqi.formats.pgn import write_pgn
from nlpx.xiangqi.rules.board import START, Position

PERFT = (44, 1920, 79666, 3290240)


def find_pyffish() -> ModuleType | None:
    try:
        import pyffish
    except ImportError:
        print("pyffish is not installed: ours is measured alone", file=sys.stderr)
        return None
    return pyffish


def positions_of(games: list[Game], number: int) -> list[Position]:
    """Positions drawn from the games, each ready to be asked once more: nothing is remembered between two calls."""
    chance = random.Random(7)
    found = []
    for _ in range(number):
        game = chance.choice(games)
        position = Position()
        for move in game.moves[: chance.randrange(len(game.moves))]:
            position.push(move)
        found.append(Position.from_fen(position.fen()))
    return found


def check_equal(positions: list[Position], pyffish: Any) -> None:
    for position in positions:
        theirs = set(pyffish.legal_moves("xiangqi", position.fen(), []))
        ours = {f"{m[0]}{int(m[1]) + 1}{m[2]}{int(m[3]) + 1}" for m in map(iccs, position.legal_moves())}
        assert ours == theirs, position.fen()


def perft(position: Position, depth: int) -> int:
    moves = position.legal_moves()
    if depth == 1:
        return len(moves)
    total = 0
    for move in moves:
        position.push(move)
        total += perft(position, depth - 1)
        position.pop()
    return total


def measure_moves(positions: list[Position], pyffish: Any, num_rounds: int) -> None:
    fens = [position.fen() for position in positions]
    legal = [position.legal_moves() for position in positions]
    variants: list[Variant] = [
        ("nlpx, all legal moves", lambda: [position.legal_moves() for position in positions]),
        ("nlpx, one move judged", lambda: [p.is_legal(m[0]) for p, m in zip(positions, legal, strict=True) if m]),
        ("nlpx, from FEN", lambda: [Position.from_fen(fen).legal_moves() for fen in fens]),
    ]
    if pyffish is not None:
        check_equal(positions, pyffish)
        variants.append(("pyffish, from FEN", lambda: [pyffish.legal_moves("xiangqi", fen, []) for fen in fens]))
    seconds = in_process(variants, time.process_time, num_rounds)
    rows = []
    for (name, _), times in zip(variants, seconds, strict=True):
        speed = len(positions) / statistics.median(times)
        rows.append([name, f"{speed:,.0f}", spread(ratios(times, seconds[0]))])
    columns = ("variant", "positions/s", "time over `all legal moves` (median, smallest-largest)")
    print(f"\nMoves, CPU seconds, {len(positions):,} positions\n\n{markdown(columns, rows)}")


def measure_perft(depth: int) -> None:
    rows = []
    for number in range(1, depth + 1):
        start = time.process_time()
        found = perft(Position.from_fen(START), number)
        assert found == PERFT[number - 1]
        rows.append([number, f"{found:,}", f"{time.process_time() - start:.3f}"])
    print(f"\nPerft\n\n{markdown(('depth', 'nodes', 'CPU seconds'), rows)}")


def measure_import(games: list[Game], num_rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = "\n".join(write_pgn(game.moves, result=game.result, tags=game.tags) for game in games)
        (folder / "utf8.pgn").write_text(text, encoding="utf-8")
        (folder / "gb18030.pgn").write_bytes(text.encode("gb18030"))
        write_games(folder / "games.jsonl", games)
        variants: list[Variant] = [
            (f"import of {file}", lambda path=folder / file: import_file(path, folder / "out.jsonl"))  # type: ignore[misc]
            for file in ("utf8.pgn", "gb18030.pgn", "games.jsonl")
        ]
        seconds = in_process(variants, time.process_time, num_rounds)
    rows = [
        [label, f"{len(games) / statistics.median(times):,.0f}", spread([len(games) / t for t in times])]
        for (label, _), times in zip(variants, seconds, strict=True)
    ]
    plies = sum(len(game.moves) for game in games)
    print(f"\nImport, CPU seconds, {len(games):,} games of {plies / len(games):.1f} plies, one core\n")
    print(markdown(("variant", "games/s", "median (smallest-largest)"), rows))


def import_file(path: Path, out: Path) -> int:
    facts = ImportFacts()
    return write_games(out, imported([str(path)], Silent(), settings=ImportSettings(), facts=facts))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with xiangqi_games.jsonl.gz")
    parser.add_argument("--games", type=int, default=2000)
    parser.add_argument("--positions", type=int, default=2000)
    parser.add_argument("--depth", type=int, default=4, help="of perft")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    games = list(islice(read_games(options.data / "xiangqi_games.jsonl.gz"), options.games))
    assert all(isinstance(game, Game) for game in games)
    measure_moves(positions_of(games, options.positions), find_pyffish(), options.rounds)
    measure_perft(options.depth)
    measure_import(games, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
