"""`nlpx chess-lm best`: games in, the ranked legal moves of each out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError
from nlpx.io import parse_json

if TYPE_CHECKING:
    from nlpx.xiangqi.model.move_model import MoveModel, Ranking
    from nlpx.xiangqi.play.choose import MoveChoice
    from nlpx.xiangqi.rules.board import Position

NO_HISTORY = (
    "the model learned whole games: of a position without its moves it can only tell which moves are legal, "
    "so look at the material too, with --search 2"
)


def read_game(text: str, fen: str | None = None, *, place: str = "") -> Position:
    """The position after a line of moves (ICCS or Chinese), or after a JSON object with `moves` and perhaps `fen`.

    Coordinates may count ranks from 0, as ICCS does, or from 1 to 10. Raises `InputError` that says at which ply
    which rule is broken.
    """
    from nlpx.xiangqi.formats.notation import counted_from_one

    if text.lstrip().startswith("{"):
        text, fen = _fields(text, fen, place)
    words = text.replace(",", " ").split()
    try:
        return _played(words, words, fen, place)
    except InputError as error:
        moves = counted_from_one(words)
        if moves is None:
            raise
        try:
            return _played(words, moves, fen, place)
        except InputError as other:
            raise (other if any("10" in word for word in words) else error) from None


def _played(words: Sequence[str], moves: Sequence[str], fen: str | None, place: str) -> Position:
    from nlpx.xiangqi.formats.notation import parse_move
    from nlpx.xiangqi.rules.board import Position
    from nlpx.xiangqi.rules.outcome import why_illegal

    position = Position() if fen is None else Position.from_fen(fen)
    for ply, (word, text) in enumerate(zip(words, moves, strict=True), start=1):
        try:
            move = parse_move(position, text)
        except InputError as error:
            raise InputError(f"{place}ply {ply}: {error.message}", hint=error.hint) from None
        if not position.is_legal(move):
            raise InputError(f"{place}ply {ply}: {word} is illegal: {why_illegal(position, move)}")
        position.push(move)
    return position


def best_moves(
    model: MoveModel, games: Iterable[Position], *, top: int, how: MoveChoice, at_once: int = 32
) -> Iterator[dict[str, Any]]:
    """Yield one row a game, in order: the moves played, who is to move, and the `top` moves with probabilities.

    With a search each also has its `value` in pawns, and the order is that of the search.
    """
    from nlpx.jobs.predict import in_windows

    reader = model.read()
    for window in in_windows(iter(games), at_once):
        for position, ranking in zip(window, reader.rank(window), strict=True):
            yield _row(position, ranking, top, how)


def _row(position: Position, ranking: Ranking, top: int, how: MoveChoice) -> dict[str, Any]:
    from nlpx.xiangqi.formats.notation import chinese, iccs
    from nlpx.xiangqi.play.choose import searched
    from nlpx.xiangqi.rules.outcome import outcome

    ended = outcome(position, moves=list(ranking.moves))
    values = dict(searched(position, ranking, how)) if how.search and ranking.moves else {}
    probabilities = dict(ranking.best())
    log_probabilities = dict(zip(ranking.moves, ranking.log_probabilities.tolist(), strict=True))
    candidates = [
        {
            "move": iccs(move),
            "chinese": chinese(position, move),
            "probability": probabilities[move],
            "log_probability": log_probabilities[move],
        }
        | ({"value": round(values[move], 2)} if values else {})
        for move in list(values or probabilities)[:top]
    ]
    return {
        "moves": " ".join(map(iccs, position.history)),
        "turn": ("red", "black")[position.turn],
        "best": candidates[0]["move"] if candidates else None,
        "outcome": None if ended is None else f"{ended.result} {ended.reason}",
        "candidates": candidates,
    }


def _fields(text: str, fen: str | None, place: str) -> tuple[str, str | None]:
    try:
        row = parse_json(text)
        moves, start = str(row["moves"]), row.get("fen", fen)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{place}neither moves nor a JSON object with `moves`", hint="such as: h2e2 h9g7") from None
    if not isinstance(start, str | None):
        raise InputError(f"{place}`fen` is not a text", hint="such as: 3k5/9/9/9/9/9/9/9/9/R3K4 w")
    return moves, start
