"""Games of Chinese chess from files of any format into one file of checked, distinct games."""

from __future__ import annotations

import glob
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from nlpx.data.opening.encodings import AUTO
from nlpx.errors import InputError
from nlpx.io import write_text
from nlpx.messages import Messages, Progress
from nlpx.xiangqi.formats.games import Game, Rejected, read_games

SUFFIXES = (".pgn", ".txt", ".jsonl", ".json", ".html", ".htm", ".dhtmlxq", ".ubb")
_PACKED = (".gz", ".bz2", ".xz")
_NUM_SHOWN = 10  # rejected games that are named on stderr; --rejects lists all
_NUM_DIGEST_BYTES = 16  # of a game's moves: two of a billion games are the same by chance with odds of 1e-21


@dataclass(frozen=True)
class ImportSettings:
    """How games are read, and which of the legal ones are kept."""

    encoding: str = AUTO
    min_plies: int = 1
    keep_duplicates: bool = False
    strict: bool = False  # end with the first game that is rejected


@dataclass
class ImportFacts:
    """What was found while the games were handed on."""

    num_files: int = 0
    num_games: int = 0
    num_plies: int = 0
    num_duplicates: int = 0
    num_short: int = 0
    results: Counter[str] = field(default_factory=Counter)
    rejected: list[Rejected] = field(default_factory=list)

    def as_row(self) -> dict[str, Any]:
        """The counts as one JSON object."""
        return {
            "files": self.num_files,
            "games": self.num_games,
            "plies": self.num_plies,
            "results": dict(self.results.most_common()),
            "duplicates": self.num_duplicates,
            "short": self.num_short,
            "rejected": len(self.rejected),
        }


def imported(
    paths: Sequence[str], messages: Messages, *, settings: ImportSettings, facts: ImportFacts
) -> Iterator[Game]:
    """Yield the games of files, folders, patterns and `-` that are legal, long enough and new; `facts` are counted up.

    Two games are the same if their moves and their start are, whoever played. Raises InputError for a missing file,
    for a folder or pattern without games, with `strict` for a rejected game, and at the end if there was no game.
    """
    seen: set[bytes] = set()
    with messages.progress(None, "games") as progress:
        for path in game_files(paths):
            facts.num_files += 1
            for game in read_games(path, settings.encoding):
                if isinstance(game, Rejected):
                    _reject(game, facts, messages, strict=settings.strict)
                elif _is_kept(game, seen, settings, facts):
                    _count(game, facts, progress)
                    yield game
    _conclude(facts, messages)


def _reject(game: Rejected, facts: ImportFacts, messages: Messages, *, strict: bool) -> None:
    if strict:
        raise InputError(str(game), hint="correct the game, or leave out --strict")
    facts.rejected.append(game)
    if len(facts.rejected) <= _NUM_SHOWN:
        messages.warn(str(game))


def _is_kept(game: Game, seen: set[bytes], settings: ImportSettings, facts: ImportFacts) -> bool:
    if len(game.moves) < settings.min_plies:
        facts.num_short += 1
        return False
    text = (game.start or "").encode() + array("H", game.moves).tobytes()
    key = blake2b(text, digest_size=_NUM_DIGEST_BYTES).digest()
    if key in seen and not settings.keep_duplicates:
        facts.num_duplicates += 1
        return False
    seen.add(key)
    return True


def _count(game: Game, facts: ImportFacts, progress: Progress) -> None:
    facts.num_games += 1
    facts.num_plies += len(game.moves)
    facts.results[game.result] += 1
    progress.update(facts.num_games)


def _conclude(facts: ImportFacts, messages: Messages) -> None:
    if len(facts.rejected) > _NUM_SHOWN:
        messages.warn(f"{len(facts.rejected):,} games were rejected, {_NUM_SHOWN} of them are shown")
    if facts.num_games == 0:
        first = f"; the first: {facts.rejected[0]}" if facts.rejected else ""
        raise InputError(
            f"no game could be taken from {facts.num_files} file{'s' if facts.num_files != 1 else ''}{first}",
            hint="formats: PGN, DhtmlXQ, JSON lines, one list of moves a line; another --encoding?",
        )


def write_rejects(path: str | Path, rejected: Sequence[Rejected]) -> None:
    """Write rejected games as a table: file, game, line, ply, reason."""
    rows = [f"{r.path}\t{r.number}\t{r.line}\t{r.ply}\t{r.reason}" for r in rejected]
    write_text(path, "".join(f"{row}\n" for row in ("file\tgame\tline\tply\treason", *rows)))


def game_files(paths: Sequence[str]) -> Iterator[str]:
    """Yield the files that paths name, those of a folder or pattern in order; a folder means all known suffixes."""
    for path in paths:
        if path != "-" and Path(path).is_dir():
            yield from _some(sorted(str(file) for file in Path(path).rglob("*") if _holds_games(file)), path)
        elif path != "-" and not Path(path).exists() and any(mark in path for mark in "*?["):
            yield from _some(sorted(glob.glob(path, recursive=True)), path)  # noqa: PTH207 - ** and absolute patterns
        else:
            yield path


def _holds_games(file: Path) -> bool:
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() not in _PACKED]
    return file.is_file() and not file.name.startswith(".") and bool(suffixes) and suffixes[-1] in SUFFIXES


def _some(files: list[str], path: str) -> list[str]:
    if not files:
        raise InputError(f"{path}: no games there", hint=f"known suffixes: {' '.join(SUFFIXES)}")
    return files
