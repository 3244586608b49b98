"""A person plays a model: typed lines in, events to show out; no terminal is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlpx.errors import InputError, UserError
from nlpx.xiangqi.formats.drawing import Style, draw
from nlpx.xiangqi.formats.notation import chinese, iccs, parse_move
from nlpx.xiangqi.play.choose import MoveChoice, choose
from nlpx.xiangqi.rules.board import Position
from nlpx.xiangqi.rules.outcome import Outcome, outcome, why_illegal
from nlpx.xiangqi.rules.pieces import BLACK, COLOR_NAMES, RED

if TYPE_CHECKING:
    from nlpx.xiangqi.model.move_model import MoveModel, Ranking

HELP = """Type a move: h2e2, H2-E2 or 炮二平五. Besides:
  moves       what the model would play here, and how likely
  back        take back your last move and the answer to it (悔棋)
  resign      give up (认输)
  board       draw the board again; flip turns it, fen prints it
  save FILE   write the game as PGN
  new         begin again
  quit        leave"""
ALIASES = {
    "undo": "back",
    "悔棋": "back",
    "认输": "resign",
    "提示": "moves",
    "hint": "moves",
    "exit": "quit",
    "退出": "quit",
    "?": "help",
    "帮助": "help",
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: words for people, `row` for programs, `value` for a reader who wants one thing."""

    text: str
    row: dict[str, Any] = field(default_factory=dict)
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """How a session goes: the colours that a person plays, how the model chooses, and what is shown."""

    people: tuple[int, ...] = (RED,)
    how: MoveChoice = field(default_factory=MoveChoice)
    top: int = 3
    style: Style = "chinese"
    fen: str | None = None
    seed: int = 7
    max_plies: int = 400


class Session:
    """One game after the other. `answer` takes a line and yields what to show; `is_over` after `quit`."""

    def __init__(self, model: MoveModel, setting: Setting) -> None:
        self.model, self.setting = model, setting
        self.reader, self.random = model.read(), np.random.default_rng(setting.seed)
        self.flipped = setting.people == (BLACK,)
        self.is_over = False
        self._commands: dict[str, Callable[[str], Iterator[Event]]] = {
            "moves": self._show_moves,
            "back": self._take_back,
            "resign": self._resign,
            "board": self._show_board,
            "flip": self._flip,
            "fen": self._show_fen,
            "save": self._save,
            "new": self._begin,
            "quit": self._quit,
            "help": self._help,
        }
        self.position = self._start()
        self.ended: Outcome | None = None

    def begin(self) -> Iterator[Event]:
        """The first board, and the model's moves until a person is to move."""
        yield from self._show_board("")
        yield from self._reply(is_drawn=True)

    def answer(self, line: str) -> Iterator[Event]:
        """What follows from a line that was typed; a mistake is explained and changes nothing."""
        name, _, rest = line.strip().partition(" ")
        command = self._commands.get(ALIASES.get(name.lower(), name.lower()))
        try:
            if command is not None:
                yield from command(rest.strip())
            elif name:
                yield from self._move(line.strip())
        except UserError as error:
            yield Event(f"{error.message}{f' ({error.hint})' if error.hint else ''}", {"error": error.message})

    def pgn(self) -> str:
        """The game as PGN."""
        from nlpx.xiangqi.formats.pgn import write_pgn

        sides = {"red": RED, "black": BLACK}
        tags = {name: "person" if color in self.setting.people else self.model.name for name, color in sides.items()}
        return write_pgn(
            self.position.history,
            result=self.result,
            start=self.setting.fen,
            tags={"event": "nlpx chess-lm play"} | tags,
        )

    @property
    def result(self) -> str:
        return "*" if self.ended is None else self.ended.result

    def _start(self) -> Position:
        return Position() if self.setting.fen is None else Position.from_fen(self.setting.fen)

    def _move(self, text: str) -> Iterator[Event]:
        if self.ended is not None:
            raise InputError("the game is over", hint="new begins another, back takes the last move back")
        move = parse_move(self.position, text)
        if not self.position.is_legal(move):
            raise InputError(f"{text} is illegal: {why_illegal(self.position, move)}")
        yield self._played(move, "person", None)
        yield from self._reply(is_drawn=False)

    def _reply(self, *, is_drawn: bool) -> Iterator[Event]:
        """The model's moves, until a person is to move or the game is over."""
        yield from self._end(is_drawn=is_drawn)
        while self.ended is None and self.position.turn not in self.setting.people:
            ranking = self.reader.rank([self.position])[0]
            move = choose(self.position, ranking, self.setting.how, self.random)
            assert move is not None  # else the game had ended
            yield self._played(move, "model", ranking)
            yield from self._show_board("")
            yield from self._end(is_drawn=True)

    def _played(self, move: int, who: str, ranking: Ranking | None) -> Event:
        words, side = chinese(self.position, move), COLOR_NAMES[self.position.turn]
        row: dict[str, Any] = {"by": who, "side": side.lower(), "move": iccs(move), "chinese": words}
        text = f"{side}: {words} {iccs(move)}"
        if ranking is not None:
            row["candidates"] = self._candidates(ranking)
            text += f"   ({self._ranked_text(row['candidates'])})" if row["candidates"] else ""
        self.position.push(move)
        return Event(text, row, iccs(move) if who == "model" else None)

    def _end(self, *, is_drawn: bool) -> Iterator[Event]:
        self.ended = outcome(self.position)
        if self.ended is None and len(self.position.history) >= self.setting.max_plies:
            self.ended = Outcome(None, f"{self.setting.max_plies} plies")
        if self.ended is not None:
            if not is_drawn:
                yield from self._show_board("")
            yield self._verdict(self.ended)

    def _verdict(self, ended: Outcome) -> Event:
        who = "a draw" if ended.winner is None else f"{COLOR_NAMES[ended.winner]} wins"
        row = {"result": ended.result, "reason": ended.reason}
        return Event(f"{ended.result}: {who}, {ended.reason}", row, ended.result)

    def _candidates(self, ranking: Ranking) -> list[dict[str, Any]]:
        return [
            {"move": iccs(move), "chinese": chinese(self.position, move), "probability": share}
            for move, share in ranking.best(self.setting.top)
        ]

    def _ranked_text(self, candidates: Sequence[dict[str, Any]]) -> str:
        return ", ".join(f"{found['chinese']} {100 * found['probability']:.0f} %" for found in candidates)

    def _show_moves(self, _rest: str) -> Iterator[Event]:
        candidates = self._candidates(self.reader.rank([self.position])[0])
        yield Event(f"the model: {self._ranked_text(candidates) or 'no legal move'}", {"candidates": candidates})

    def _take_back(self, _rest: str) -> Iterator[Event]:
        """Back to where the person last chose; what a game began with stays."""
        own_plies = [ply for ply in range(len(self.position.history)) if self._mover(ply) in self.setting.people]
        if not own_plies:
            raise InputError("there is no move of yours to take back")
        while len(self.position.history) > own_plies[-1]:
            self.position.pop()
        self.ended = None
        yield Event("taken back", {"taken_back_to": own_plies[-1]})
        yield from self._show_board("")

    def _mover(self, ply: int) -> int:
        return (self.position.turn + len(self.position.history) - ply) % 2

    def _resign(self, _rest: str) -> Iterator[Event]:
        if self.ended is not None:
            raise InputError("the game is over")
        self.ended = Outcome(1 - self.position.turn, "resignation")
        yield self._verdict(self.ended)

    def _show_board(self, _rest: str) -> Iterator[Event]:
        last = self.position.history[-1] if self.position.history else None
        drawn = draw(self.position, flipped=self.flipped, last_move=last, style=self.setting.style)
        yield Event(drawn.rstrip("\n") + ("\ncheck!" if self.position.in_check() and self.ended is None else ""))

    def _flip(self, rest: str) -> Iterator[Event]:
        self.flipped = not self.flipped
        yield from self._show_board(rest)

    def _show_fen(self, _rest: str) -> Iterator[Event]:
        yield Event(self.position.fen(), {"fen": self.position.fen()})

    def _save(self, rest: str) -> Iterator[Event]:
        if not rest:
            raise InputError("save needs a file", hint="save game.pgn")
        self.write(Path(rest))
        yield Event(f"saved: {rest}", {"saved": rest})

    def write(self, path: Path) -> None:
        """Save the game as PGN. Raises `InputError` where the file cannot be written."""
        from nlpx.io import write_text

        try:
            write_text(path, self.pgn())
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None

    def _begin(self, _rest: str) -> Iterator[Event]:
        self.position, self.ended = self._start(), None
        yield from self.begin()

    def _quit(self, _rest: str) -> Iterator[Event]:
        self.is_over = True
        yield from ()

    def _help(self, _rest: str) -> Iterator[Event]:
        yield Event(HELP)
