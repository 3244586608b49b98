"""PGN: tags in brackets, then numbered moves in Chinese notation, ICCS or WXF; read as a stream, and written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from nlpx.xiangqi.formats.notation import chinese
from nlpx.xiangqi.formats.records import Record, plain_result, split_result, words_of
from nlpx.xiangqi.rules.board import Position
from nlpx.xiangqi.rules.pieces import BLACK

_ONE = r'\[\s*(\w+)\s+"((?:[^"\\]|\\.)*)'
# Several may share a line; the last may lack its quote and its bracket, as files cut by hand have it.
_TAGS = re.compile(rf'\s*(?:{_ONE}"\s*\]\s*)*{_ONE}"?\s*\]?\s*$')
_TAG = re.compile(_ONE)
_FIRST_TAG = re.compile(r'\s*\[\s*(Game|Event)\s+"', re.IGNORECASE)
_NOT_KEPT = ("game", "format", "result", "fen", "setup", "variant")
_NAMES = {"eco": "ecco"}


def read_pgn(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the games of a PGN file: a tag after moves begins the next one, unless it stands in a comment."""
    game = _Game(1, 1)
    for number, line in enumerate(lines, start=1):
        is_tags = "[" in line and (not game.in_comment or _FIRST_TAG.match(line)) and _TAGS.match(line)
        if is_tags and game.has_moves:
            yield game.record()
            game = _Game(game.number + 1, number)
        if is_tags:
            for name, value in _TAG.findall(line):
                game.tags[name.lower()] = value.replace('\\"', '"').replace("\\\\", "\\")
        else:
            game.add(line)
    if game.tags or game.has_moves:
        yield game.record()


class _Game:
    """The part of a file that is one game."""

    def __init__(self, number: int, line: int) -> None:
        self.number, self.line = number, line
        self.tags: dict[str, str] = {}
        self.movetext: list[str] = []
        self.has_moves = self.in_comment = False

    def add(self, line: str) -> None:
        self.movetext.append(line)
        self.has_moves = self.has_moves or not line.isspace()
        if "{" in line or "}" in line:
            last_open, last_closed = line.rfind("{"), line.rfind("}")
            self.in_comment = last_open > last_closed

    def record(self) -> Record:
        text = "".join(self.movetext)
        words = words_of(text)
        written = split_result(words)
        result = plain_result(self.tags.get("result"))
        tags = {_NAMES.get(name, name): value for name, value in self.tags.items() if value and name not in _NOT_KEPT}
        fault = "a comment that begins with { does not end" if self.in_comment else None
        start = self.tags.get("fen") or None
        return Record(
            self.number, self.line, words, written if result == "*" and written else result, start, tags, fault
        )


def write_pgn(
    moves: Sequence[int], *, result: str = "*", start: str | None = None, tags: dict[str, str] | None = None
) -> str:
    """Write a game as PGN in Chinese notation, with `start` as FEN where it is not the usual one."""
    position = Position.from_fen(start) if start else Position()
    given = {"Game": "Chinese Chess"} | {name.capitalize(): value for name, value in (tags or {}).items()}
    given |= {"Result": result} | ({"FEN": position.fen()} if start else {}) | {"Format": "Chinese"}
    header = "".join(f'[{name} "{_escaped(value)}"]\n' for name, value in given.items())
    return f"{header}\n" + "".join(f"{line}\n" for line in _numbered(position, moves)) + f"{result}\n"


def _escaped(value: str) -> str:
    return " ".join(value.splitlines()).replace("\\", "\\\\").replace('"', '\\"')


def _numbered(position: Position, moves: Sequence[int]) -> Iterator[str]:
    line = ""
    for move in moves:
        text = chinese(position, move)
        number = (position.first_ply + len(position.history)) // 2 + 1
        if position.turn == BLACK:
            yield f"{line or f'{number}. ...'} {text}"
            line = ""
        else:
            line = f"{number}. {text}"
        position.push(move)
    if line:
        yield line
