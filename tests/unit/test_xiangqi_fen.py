"""FEN both ways, and a sentence for everything that no game could have led to."""

from __future__ import annotations

import pytest

from nlpx.errors import InputError
from nlpx.xiangqi.formats.notation import parse_iccs
from nlpx.xiangqi.rules.board import BLACK, RED, START, Position


def test_the_start():
    position = Position()
    assert position.fen() == START == Position.START
    assert position.turn == RED
    assert (position.piece_at(0), position.piece_at(89), position.piece_at(40)) == ("R", "r", None)


@pytest.mark.parametrize(
    "fen",
    [
        START,
        "2bk1a3/4a2n1/c3b1r2/R8/p2rN4/4P4/P1R6/4B4/4A4/2B1KA3 w - - 0 1",
        "3k1ab2/4a4/4b4/9/9/9/9/4B4/4A4/3AK1B2 b - - 17 42",
    ],
)
def test_round_trip(fen):
    assert Position.from_fen(fen).fen() == fen


def test_counters_follow_the_moves():
    position = Position()
    for text in ("h2h9", "i9h9", "b0c2"):
        position.push(parse_iccs(text))
    assert position.fen().split()[1:] == ["b", "-", "-", "1", "2"]
    assert Position.from_fen(position.fen()).fen() == position.fen()


@pytest.mark.parametrize("turn", ["w", "r", "W"])
def test_red_to_move(turn):
    assert Position.from_fen(START.replace(" w ", f" {turn} ")).turn == RED


def test_short_and_foreign_forms():
    assert Position.from_fen(START.split()[0]).fen() == START
    assert Position.from_fen(START.replace(" w ", " b ")).turn == BLACK
    letters = START.translate(str.maketrans("BbNn", "EeHh"))
    assert Position.from_fen(letters.replace(" w ", " r ")).fen() == START


@pytest.mark.parametrize(
    ("fen", "said"),
    [
        ("", "empty"),
        (f"{START.split()[0]} x", "the side to move is `x`"),
        ("rnbakabnr/9/9 w", "3 ranks instead of 10"),
        (START.replace("RNBAKABNR", "RNBAKABN"), "rank 0 has 8 squares instead of 9"),
        (START.replace("1c5c1", "1c5c2"), "rank 7 has 10 squares"),
        (START.replace("RNB", "RQB"), "`Q` in rank 0 is no piece"),
        (START.replace(" 0 1", " x 1"), "counters `x 1`"),
        ("3k5/9/9/9/9/9/9/9/4K4/4K4 w", "Red has 2 kings"),
        ("9/9/9/9/9/9/9/9/9/4K4 w", "Black has no king"),
        ("3k5/9/9/9/9/9/9/9/9/9 w", "Red has no king"),
        ("3k5/9/9/9/9/9/4K4/9/9/9 w", "Red's king on e3 is outside its palace"),
        ("3k5/9/9/9/9/9/9/P8/9/4K4 w", "Red's pawn on a2 is behind where pawns start"),
        ("3k5/9/p8/9/9/9/9/9/9/4K4 w", "Black's pawn on a7 is behind where pawns start"),
        ("3k5/9/9/9/9/9/1P7/9/9/4K4 w", "Red's pawn on b3 has left its file before crossing the river"),
        ("3k5/9/9/9/9/P8/P8/9/9/4K4 w", "Red has two pawns on file a before the river"),
        ("3k5/9/9/9/9/9/9/9/A8/4K4 w", "Red's advisor on a1 is on none of the five points"),
        ("3k5/9/9/9/9/9/9/9/5A3/4K4 w", "Red's advisor on f1 is on none of the five points"),
        ("3k5/9/9/9/9/9/9/9/B8/4K4 w", "Red's elephant on a1 is on none of the seven points"),
        ("3k5/9/4b4/9/9/9/9/9/9/2b1K4 w", "Black's elephant on c0 is on none of the seven points"),
        ("RRR1k4/9/9/9/9/9/9/9/9/3K5 b", "Red has 3 rooks, at most 2"),
        ("4k4/9/9/9/9/9/9/9/9/4K4 w", "the kings face each other"),
        ("3k5/9/9/9/9/9/9/9/9/3RK4 w", "Black is in check although Red is to move"),
    ],
)
def test_what_is_wrong_is_said(fen, said):
    with pytest.raises(InputError) as caught:
        Position.from_fen(fen)
    assert said in str(caught.value)


def test_everything_wrong_is_said_at_once():
    with pytest.raises(InputError) as caught:
        Position.from_fen("9/9/9/9/9/9/9/P8/A8/9 w")
    assert str(caught.value).count(";") == 3
