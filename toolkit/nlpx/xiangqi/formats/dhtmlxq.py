"""DhtmlXQ: the records that Chinese web boards embed in pages, `[DhtmlXQ_movelist]77477062...[/DhtmlXQ_movelist]`.

A square is two digits: the file from Red's left, then the rank from Black's back rank down. `binit` places 32 pieces in
a fixed order, 99 for those that are gone. Variations stand under other names and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from nlpx.xiangqi.formats.notation import ICCS
from nlpx.xiangqi.formats.records import Record, plain_result
from nlpx.xiangqi.rules.fen import START, Setup, parse_fen, write_fen
from nlpx.xiangqi.rules.pieces import COLOR, LETTERS, NUM_FILES, NUM_RANKS, NUM_SQUARES, RED

_FIELD = re.compile(r"\[DhtmlXQ_(\w+)\](.*?)\[/DhtmlXQ_\1\]", re.DOTALL | re.IGNORECASE)
_START_MARK, _END_MARK = "[dhtmlxq]", "[/dhtmlxq]"
_ORDER = [LETTERS.index(letter) for letter in "RNBAKABNRCCPPPPPrnbakabnrccppppp"]
_CAPTURED = "99"
_NAMES = {"title": "event", "event": "event", "red": "red", "black": "black", "date": "date", "open": "opening"}
_USUAL = parse_fen(START).board


def read_dhtmlxq(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the games of a file; what lies around them, such as HTML, is passed over."""
    block: list[str] = []
    number, first_line = 1, 1
    for line_number, line in enumerate(lines, start=1):
        lowered = line.lower()
        if _START_MARK in lowered or not block:
            if _holds_game(block):
                yield _record("".join(block), number, first_line)
                number += 1
            block, first_line = [], line_number
        block.append(line)
        if _END_MARK in lowered and _holds_game(block):
            yield _record("".join(block), number, first_line)
            number, block = number + 1, []
    if _holds_game(block):
        yield _record("".join(block), number, first_line)


def _holds_game(block: list[str]) -> bool:
    return any("[dhtmlxq_movelist]" in line.lower() for line in block)


def _record(text: str, number: int, line: int) -> Record:
    fields = {name.lower(): value.strip() for name, value in _FIELD.findall(text)}
    tags = {_NAMES[name]: fields[name] for name in _NAMES if fields.get(name)}
    record = Record(number, line, [], plain_result(fields.get("result")), tags=tags)
    digits = "".join(fields.get("movelist", "").split())
    moves = [_move(digits[at : at + 4]) for at in range(0, len(digits), 4)]
    board = _board(fields["binit"]) if fields.get("binit") else _USUAL
    if board is None or None in moves:
        what = "binit" if board is None else f"movelist at move {moves.index(None) + 1}"
        record.fault = f"the {what} is not made of pairs of digits that name squares"
        return record
    record.words = [ICCS[move] for move in moves if move is not None]
    record.start = _start(board, moves[0] if moves else None)
    return record


def _square(pair: str) -> int | None:
    if len(pair) != 2 or not (pair.isascii() and pair.isdecimal()) or pair[0] == "9":
        return None
    return (NUM_RANKS - 1 - int(pair[1])) * NUM_FILES + int(pair[0])


def _move(digits: str) -> int | None:
    source, target = _square(digits[:2]), _square(digits[2:])
    return None if source is None or target is None else source * NUM_SQUARES + target


def _board(binit: str) -> tuple[int, ...] | None:
    pairs = [binit[at : at + 2] for at in range(0, len(binit), 2)]
    board = [0] * NUM_SQUARES
    if len(pairs) != len(_ORDER):
        return None
    for pair, piece in zip(pairs, _ORDER, strict=True):
        square = _square(pair)
        if square is None and pair != _CAPTURED:
            return None
        if square is not None:
            board[square] = piece
    return tuple(board)


def _start(board: tuple[int, ...], first_move: int | None) -> str | None:
    """The FEN; who moves first only the first move shows."""
    mover = RED if first_move is None else COLOR[board[first_move // NUM_SQUARES]]
    if board == _USUAL and mover == RED:
        return None
    return write_fen(Setup(board, max(mover, RED)))
