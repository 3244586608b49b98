"""Games that were checked move by move, from files of every format, and as JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path, PurePath

from nlpx.data.opening.compression import is_reading_error
from nlpx.data.opening.encodings import AUTO
from nlpx.data.opening.sources import Source, find_sources
from nlpx.data.opening.streams import open_stream
from nlpx.errors import InputError
from nlpx.io import write_atomically
from nlpx.notes import note
from nlpx.xiangqi.formats.decoding import text_lines
from nlpx.xiangqi.formats.dhtmlxq import read_dhtmlxq
from nlpx.xiangqi.formats.move_lists import read_json_lines, read_move_lists
from nlpx.xiangqi.formats.notation import ICCS, counted_from_one, parse_move
from nlpx.xiangqi.formats.pgn import read_pgn
from nlpx.xiangqi.formats.records import Record
from nlpx.xiangqi.rules.board import START, Position
from nlpx.xiangqi.rules.outcome import why_illegal
from nlpx.xiangqi.rules.pieces import RESULT_OF_WINNER

_NUM_SNIFFED_LINES = 200  # of a file, by which its format is recognised
_TAG_LINE = re.compile(r'\s*\[\w+\s+"')
_JSON_ROW = re.compile(r'\s*\{\s*"')
_USUAL = START.split()[:2]


@dataclass
class Game:
    """A game whose moves are all legal: `start` is a FEN, None for the usual start."""

    moves: list[int]
    result: str = "*"
    start: str | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def row(self) -> dict[str, str]:
        """The game as a JSON object of texts: moves in ICCS, result, FEN where there is one, tags."""
        own = {"moves": " ".join([ICCS[move] for move in self.moves]), "result": self.result}
        own |= {"fen": self.start} if self.start else {}
        return own | {name: value for name, value in self.tags.items() if name not in own}


@dataclass(frozen=True)
class Rejected:
    """A game that was not taken: where it stands, at which ply (0: before the first), and why."""

    path: str
    number: int
    line: int
    ply: int
    reason: str

    def __str__(self) -> str:
        ply = f", ply {self.ply}" if self.ply else ""
        return f"{self.path}: game {self.number} (line {self.line}){ply}: {self.reason}"


def read_games(path: str | Path, encoding: str = AUTO) -> Iterator[Game | Rejected]:
    """Yield the games of a file or of stdin (`-`), each checked move by move, and in their place those that fail.

    PGN, DhtmlXQ, JSON lines and plain lists are distinguished by their content, packed files are unpacked. Raises
    InputError for a missing file, UsageError for an unknown encoding.
    """
    source = _source(path)
    name = source.name
    try:
        with open_stream(source) as stream:
            found, lines = text_lines(stream, encoding)
            head = list(islice(lines, _NUM_SNIFFED_LINES))
            for record in _reader(head, name)(chain(head, lines)):
                yield check_record(record, name, found)
    except Exception as error:
        if not is_reading_error(error):
            raise
        raise InputError(f"{name}: the compressed data is broken", hint="fetch or pack the file again") from None


def _source(path: str | Path) -> Source:
    if str(path) != "-" and Path(path).is_dir():
        raise InputError(f"{path} is a folder, not a file of games", hint="name the files in it")
    return find_sources([str(path)], format="txt")[0]


def _reader(head: list[str], name: str) -> Callable[[Iterable[str]], Iterator[Record]]:
    if any("[dhtmlxq" in line.lower() for line in head):
        return read_dhtmlxq
    if _JSON_ROW.match(next((line for line in head if line.strip()), "")):
        return read_json_lines
    if ".pgn" in PurePath(name.lower()).suffixes or any(_TAG_LINE.match(line) for line in head):
        return read_pgn
    return read_move_lists


def check_record(record: Record, path: str, encoding: str = "utf-8") -> Game | Rejected:
    """Play a written game through; `encoding` is what an unreadable move is blamed on.

    Coordinates that are not legal as in ICCS are read with ranks from 1 to 10, as UCI's clients write them.
    """
    found = _played(record, record.words, path, encoding)
    moves = counted_from_one(record.words) if isinstance(found, Rejected) and found.ply else None
    if moves is None or isinstance(found, Game):
        return found
    other = _played(record, moves, path, encoding)
    if isinstance(other, Game):
        note(f"{path}: ranks are counted from 1 to 10 where 0 to 9 would be illegal")
        return other
    return other if other.ply > found.ply else found


def _played(record: Record, moves: Sequence[str], path: str, encoding: str) -> Game | Rejected:
    def rejected(ply: int, reason: str) -> Rejected:
        return Rejected(path, record.number, record.line, ply, reason)

    if record.fault or not record.words:
        return rejected(0, record.fault or "no moves")
    try:
        position = Position() if _is_usual(record.start) else Position.from_fen(record.start or START)
    except InputError as error:
        return rejected(0, error.message)
    for ply, (word, text) in enumerate(zip(record.words, moves, strict=True), start=1):
        try:
            move = parse_move(position, text)
        except InputError as error:
            return rejected(ply, _blamed(error.message, word, encoding))
        if not position.is_legal(move):
            return rejected(ply, f"`{word}` is illegal: {why_illegal(position, move)}")
        position.push(move)
    start = None if _is_usual(record.start) else record.start
    return Game(position.history, _result(position, record.result), start, record.tags)


def _is_usual(start: str | None) -> bool:
    return start is None or start.split()[:2] == _USUAL


def _blamed(message: str, word: str, encoding: str) -> str:
    unreadable = "\ufffd" in word
    return f"{message} (bytes that are not {encoding.upper()}: another --encoding?)" if unreadable else message


def _result(position: Position, written: str) -> str:
    """A side that is mated or stalemated has lost, whatever is written."""
    return written if position.legal_moves() else RESULT_OF_WINNER[1 - position.turn]


def write_games(path: str | Path, games: Iterable[Game]) -> int:
    """Write games as JSON lines, atomically; returns how many."""
    num_games = 0
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for game in games:
            file.write(json.dumps(game.row(), ensure_ascii=False) + "\n")
            num_games += 1
    return num_games
