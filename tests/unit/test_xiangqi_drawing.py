"""Boards drawn in text."""

from __future__ import annotations

import unicodedata

import pytest

from nlpx.xiangqi.formats.drawing import draw
from nlpx.xiangqi.formats.notation import parse_iccs
from nlpx.xiangqi.rules.board import START, Position

AFTER_THE_FIRST_MOVE = """\
9   r  n  b  a  k  a  b  n  r
8   .  .  .  .  .  .  .  .  .
7   .  c  .  .  .  .  .  c  .
6   p  .  p  .  p  .  p  .  p
5   .  .  .  .  .  .  .  .  .
    ~~~~~~~~~~~~~~~~~~~~~~~~~
4   .  .  .  .  .  .  .  .  .
3   P  .  P  .  P  .  P  .  P
2   .  C  .  . [C] .  . [.] .
1   .  .  .  .  .  .  .  .  .
0   R  N  B  A  K  A  B  N  R
    a  b  c  d  e  f  g  h  i
"""


def columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def moved() -> tuple[Position, int]:
    position, move = Position(), parse_iccs("h2e2")
    position.push(move)
    return position, move


def test_letters():
    position, move = moved()
    assert draw(position, last_move=move, style="ascii") == AFTER_THE_FIRST_MOVE


def test_characters_stand_in_columns():
    position, move = moved()
    lines = draw(position, last_move=move).splitlines()
    assert lines[8] == "3   兵  ．  兵  ．  兵  ．  兵  ．  兵"
    assert lines[9] == "2   ．  炮  ．  ． [炮] ．  ． [．] ．"
    assert lines[1] == "9   车  马  象  士  将  士  象  马  车"
    assert lines[11] == "0   俥  傌  相  仕  帅  仕  相  傌  俥"
    assert {columns(line) for line in lines if line[0].isdigit()} == {38}


def test_every_piece_looks_different():
    board = draw(Position())
    pieces = {character for character in board if character.isalpha() and columns(character) == 2}
    assert len(pieces & set("帅仕相傌俥炮兵将士象马车砲卒")) == 14


@pytest.mark.parametrize("style", ["chinese", "unicode", "ascii"])
def test_flipped_is_the_board_turned_round(style):
    position, move = moved()
    upright, flipped = (draw(position, flipped=f, last_move=move, style=style).splitlines() for f in (False, True))
    ranks = [[line for line in lines if line[0].isdigit()] for lines in (upright, flipped)]
    assert [line[0] for line in ranks[1]] == list("0123456789")
    assert len(upright) == len(flipped)
    for line, turned in zip(ranks[0], reversed(ranks[1]), strict=True):
        # Brackets are exchanged with the sides they stand on.
        back = turned[3:].ljust(len(line[3:]))[::-1].translate(str.maketrans("[]", "]["))
        assert back.split() == line[3:].split()


def test_symbols_are_those_of_unicode():
    board = draw(Position.from_fen(START), style="unicode")
    names = {unicodedata.name(character) for character in board if ord(character) > 0xFFFF}
    assert len(names) == 14
    assert all(name.startswith("XIANGQI") for name in names)
    assert unicodedata.name(board.split()[1]) == "XIANGQI BLACK CHARIOT"
