"""The UCI and UCCI protocols: lines in, lines out, so that a graphical board or a tournament can use a model.

Both speak of positions and moves alike. UCCI counts ranks from 0, as ICCS does; of UCI's clients some count from 0 and
some from 1. Which it is shows in the first move that would be illegal the other way, or is set by the option `Ranks`.
What is not understood is answered by an `info string` and changes nothing. Limits of time and depth in `go` have no
effect: an answer takes one call of the model, or the search that the option `Search` asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nlpx import __version__
from nlpx.errors import InputError, UserError
from nlpx.xiangqi.formats.notation import iccs, parse_coordinates
from nlpx.xiangqi.play.alpha_beta import material
from nlpx.xiangqi.play.choose import MoveChoice, choose_with_value
from nlpx.xiangqi.rules.board import Position
from nlpx.xiangqi.rules.outcome import why_illegal

if TYPE_CHECKING:
    from nlpx.xiangqi.model.move_model import MoveModel, Ranking

NUM_SHOWN = 5  # moves in the line of probabilities
MAX_SEARCH = 4  # plies: deeper takes minutes in Python


class Engine:
    """Answers a client line by line; the model is loaded when it is first needed."""

    def __init__(
        self, load: Callable[[], MoveModel], how: MoveChoice, write_line: Callable[[str], None], *, seed: int = 7
    ) -> None:
        self._load, self._write_line = load, write_line
        self.how, self.random = how, np.random.default_rng(seed)
        self._options = (
            f"name Temperature type spin default {round(100 * how.temperature)} min 0 max 500",
            f"name Search type spin default {how.search} min 0 max {MAX_SEARCH}",
            f"name Seed type spin default {seed} min 0 max 2147483647",
            "name Ranks type combo default from 0 var from 0 var from 1",
        )
        self.model: MoveModel | None = None
        self.position, self.first_rank = Position(), 0
        self.banned: set[int] = set()
        self.is_ucci = False
        self._held_back: str | None = None  # the answer to `go infinite`, which is given at `stop`
        self._commands: dict[str, Callable[[list[str]], None]] = {
            "uci": self._greet,
            "ucci": self._greet_ucci,
            "isready": self._be_ready,
            "setoption": self._set_option,
            "ucinewgame": self._begin,
            "position": self._set_position,
            "banmoves": self._ban,
            "go": self._go,
            "stop": self._stop,
        }

    def answer(self, line: str) -> bool:
        """Do what a line asks for; False after `quit`."""
        name, *words = line.split() or [""]
        if name == "quit":
            if self.is_ucci:
                self._write_line("bye")
            return False
        command = self._commands.get(name)
        try:
            if command is not None:
                command(words)
            elif name:
                self._write_line(f"info string not understood: {_printable(line)}")
        except (InputError, ValueError, IndexError) as error:
            message = error.message if isinstance(error, UserError) else str(error)
            self._write_line(f"info string {_printable(message)}")
        return True

    def _greet(self, _words: list[str]) -> None:
        self._write_line(f"id name nlpx chess-lm {__version__}")
        self._write_line("id author the nlpx developers")
        for option in self._options:
            self._write_line(f"option {option}")
        self._write_line("uciok")

    def _greet_ucci(self, _words: list[str]) -> None:
        self.is_ucci = True
        self._write_line(f"id name nlpx chess-lm {__version__}")
        for option in self._options:
            self._write_line("option " + option.removeprefix("name "))
        self._write_line("ucciok")

    def _be_ready(self, _words: list[str]) -> None:
        self._ready_model()
        self._write_line("readyok")

    def _ready_model(self) -> MoveModel:
        if self.model is None:
            self.model = self._load()
            self.reader = self.model.read()
        return self.model

    def _set_option(self, words: list[str]) -> None:
        name, value = _option(words)
        if name == "temperature":
            self.how = replace(self.how, temperature=_number(value, 500) / 100)
        elif name == "search":
            self.how = replace(self.how, search=_number(value, MAX_SEARCH))
        elif name == "seed":
            self.random = np.random.default_rng(_number(value, 2**31 - 1))
        elif name == "ranks" and value in ("from 0", "from 1"):
            self.first_rank = int(value[-1])
        else:
            self._write_line(f"info string no such option: {_printable(' '.join(words))}")

    def _begin(self, _words: list[str]) -> None:
        self.position, self.banned = Position(), set()

    def _set_position(self, words: list[str]) -> None:
        place = words.index("moves") if "moves" in words else len(words)
        kind, fen, moves = " ".join(words[:1]), " ".join(words[1:place]), words[place + 1 :]
        if kind not in ("startpos", "fen"):
            raise InputError(f"position {kind}: neither startpos nor fen")
        try:
            found = _played(kind, fen, moves, self.first_rank)
        except InputError as error:
            try:
                found = _played(kind, fen, moves, 1 - self.first_rank)
            except InputError:
                raise error from None
            self.first_rank = 1 - self.first_rank
        self.position, self.banned, self._held_back = found, set(), None

    def _ban(self, words: list[str]) -> None:
        moves = [parse_coordinates(word, self.first_rank) for word in words]
        self.banned = {move for move in moves if move is not None}

    def _go(self, words: list[str]) -> None:
        self._ready_model()
        ranking = self._allowed(self.reader.rank([self.position])[0])
        chosen = choose_with_value(self.position, ranking, self.how, self.random)
        if chosen is None:
            answer = "nobestmove" if self.is_ucci else "bestmove (none)"
        else:
            move, value = chosen
            self._write_info(ranking, move, material(self.position) if value is None else value)
            answer = f"bestmove {self._write(move)}"
        if "infinite" in words or "ponder" in words:
            self._held_back = answer
        else:
            self._write_line(answer)

    def _write_info(self, ranking: Ranking, move: int, value: float) -> None:
        depth = max(1, self.how.search)
        self._write_line(f"info depth {depth} score cp {round(100 * value)} pv {self._write(move)}")
        likely = ranking.best(NUM_SHOWN)
        self._write_line(
            "info string " + " ".join(f"{self._write(move)} {100 * probability:.1f}%" for move, probability in likely)
        )

    def _allowed(self, ranking: Ranking) -> Ranking:
        kept = [index for index, move in enumerate(ranking.moves) if move not in self.banned]
        return replace(
            ranking,
            moves=tuple(ranking.moves[index] for index in kept),
            log_probabilities=ranking.log_probabilities[kept],
        )

    def _stop(self, _words: list[str]) -> None:
        if self._held_back is not None:
            self._write_line(self._held_back)
        self._held_back = None

    def _write(self, move: int) -> str:
        source, target = iccs(move)[:2], iccs(move)[2:]
        return "".join(f"{square[0]}{int(square[1]) + self.first_rank}" for square in (source, target))


def _played(kind: str, fen: str, moves: Sequence[str], first_rank: int) -> Position:
    """The position after the moves, whose ranks count from `first_rank`; the first illegal one is an `InputError`."""
    position = Position() if kind == "startpos" else Position.from_fen(fen)
    for word in moves:
        move = parse_coordinates(word, first_rank)
        if move is None or not position.is_legal(move):
            raise InputError(f"{word}: {'no move' if move is None else why_illegal(position, move)}")
        position.push(move)
    return position


def _option(words: list[str]) -> tuple[str, str]:
    """`name X value Y` as UCI writes it, `X Y` as UCCI does."""
    if words and words[0] == "name":
        place = words.index("value") if "value" in words else len(words)
        return " ".join(words[1:place]).lower(), " ".join(words[place + 1 :])
    return (words[0].lower() if words else ""), " ".join(words[1:])


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > most:
        raise InputError(f"{text}: not a number from 0 to {most}")
    return int(text)


def _printable(text: str) -> str:
    """One line of at most 100 characters without control characters."""
    return "".join(character if character.isprintable() else "?" for character in text)[:100]
