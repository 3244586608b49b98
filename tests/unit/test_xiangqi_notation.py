"""ICCS and Chinese notation, both ways."""

from __future__ import annotations

import random

import pytest

from nlpx.errors import InputError
from nlpx.xiangqi.formats.notation import chinese, iccs, parse_chinese, parse_iccs, parse_move
from nlpx.xiangqi.rules.board import START, Position
from nlpx.xiangqi.rules.pieces import NUM_MOVES

# Two files with three and two red pawns, across the river; and five on one file.
TWO_FILES = "3k5/2P3P2/2P6/6P2/2P6/9/9/9/9/4K4 w"
FIVE = "2P1k4/2P6/2P6/2P6/2P6/9/9/9/9/3K5 w"
THREE = "4k4/2P6/2P6/2P6/9/9/9/9/9/3K5 w"


def test_iccs_of_every_move():
    assert [parse_iccs(iccs(move)) for move in range(NUM_MOVES)] == list(range(NUM_MOVES))
    assert iccs(parse_iccs("h2e2")) == "h2e2"
    assert parse_iccs("h2e2") == (2 * 9 + 7) * 90 + 2 * 9 + 4


@pytest.mark.parametrize("text", ["h2e2", "H2E2", "H2-E2", "h2-e2", " h2e2 "])
def test_iccs_as_people_write_it(text):
    assert iccs(parse_iccs(text)) == "h2e2"


@pytest.mark.parametrize("text", ["", "h2", "j2e2", "h2e", "h2e22", "炮二平五", "２２"])
def test_no_iccs(text):
    with pytest.raises(InputError, match="no move in coordinates"):
        parse_iccs(text)


@pytest.mark.parametrize(
    ("text", "move"),
    [
        ("炮二平五", "h2e2"),
        ("砲二平五", "h2e2"),
        ("包2平5", "h2e2"),
        ("炮２平５", "h2e2"),
        ("C2=5", "h2e2"),
        ("c2.5", "h2e2"),
        ("马八进七", "b0c2"),
        ("馬八進七", "b0c2"),
        ("N8+7", "b0c2"),
        ("H8+7", "b0c2"),
        ("俥九进一", "a0a1"),
        ("車一進二", "i0i2"),
        ("兵七进一", "c3c4"),
        ("卒七进1", "c3c4"),
        ("相三进五", "g0e2"),
        ("象三进五", "g0e2"),
        ("仕四进五", "f0e1"),
        ("帥五进一", "e0e1"),
        ("炮八进七", "b2b9"),
    ],
)
def test_red_moves_from_the_start(text, move):
    assert iccs(parse_chinese(Position(), text)) == move
    assert iccs(parse_move(Position(), text)) == move


@pytest.mark.parametrize(
    ("text", "move"),
    [
        ("马8进7", "h9g7"),
        ("馬８進７", "h9g7"),
        ("炮8平5", "h7e7"),
        ("卒7进1", "g6g5"),
        ("象3进5", "c9e7"),
        ("车9进1", "i9i8"),
        ("将5进1", "e9e8"),
        ("士四进五", "d9e8"),
        ("炮2进4", "b7b3"),
    ],
)
def test_black_moves_from_the_start(text, move):
    assert iccs(parse_chinese(Position.from_fen(START.replace(" w ", " b ")), text)) == move


@pytest.mark.parametrize(
    ("fen", "move", "text"),
    [
        ("4k4/9/9/9/2N6/9/2N6/9/9/3K5 w", "c5d7", "前马进六"),
        ("4k4/9/9/9/2N6/9/2N6/9/9/3K5 w", "c3b1", "后马退八"),
        ("4k4/2n6/9/2n6/9/9/9/9/9/3K5 b", "c6d4", "前马进4"),
        ("4k4/9/4c4/9/4c4/9/9/9/9/3K5 b", "e7a7", "后炮平1"),
        ("3k5/9/9/9/9/9/9/4B4/9/2B1K4 w", "c0a2", "相七进九"),
        ("3k5/9/9/9/9/9/9/3A5/9/3AK4 w", "d0e1", "仕六进五"),
        ("3k5/9/9/9/9/9/9/3A5/9/3AK4 w", "d2e1", "仕六退五"),
        (THREE, "c8b8", "前兵平八"),
        (THREE, "c7d7", "中兵平六"),
        (THREE, "c6b6", "后兵平八"),
        (FIVE, "c9b9", "一兵平八"),
        (FIVE, "c6b6", "四兵平八"),
        (FIVE, "c5d5", "五兵平六"),
        (TWO_FILES, "g8g9", "一兵进一"),
        (TWO_FILES, "g6f6", "二兵平四"),
        (TWO_FILES, "c8b8", "三兵平八"),
        (TWO_FILES, "c5d5", "五兵平六"),
        ("3k5/9/9/9/9/2p3p2/2p6/6p2/9/4K4 b", "c3b3", "一卒平2"),
        ("3k5/9/9/9/9/2p3p2/2p6/6p2/9/4K4 b", "g4f4", "四卒平6"),
    ],
)
def test_pieces_on_one_file(fen, move, text):
    position = Position.from_fen(fen)
    assert chinese(position, parse_iccs(move)) == text
    assert iccs(parse_chinese(position, text)) == move


@pytest.mark.parametrize(
    ("fen", "text", "move"),
    [
        ("4k4/9/9/9/2N6/9/2N6/9/9/3K5 w", "马前进六", "c5d7"),
        ("4k4/9/9/9/2N6/9/2N6/9/9/3K5 w", "+N+6", "c5d7"),
        ("4k4/9/9/9/2N6/9/2N6/9/9/3K5 w", "N-+6", "c3d5"),
        ("4k4/9/9/9/2N6/9/2N6/9/9/3K5 w", "後馬進六", "c3d5"),
        (TWO_FILES, "前三进一", "g8g9"),
        (TWO_FILES, "后七平八", "c5b5"),
        (THREE, "一兵平八", "c8b8"),
        # The leg of one knight is blocked: no place is needed.
        ("4k4/9/9/9/2N6/2P6/2N6/9/9/3K5 w", "马七退八", "c3b1"),
    ],
)
def test_other_ways_to_tell_pieces_apart(fen, text, move):
    assert iccs(parse_chinese(Position.from_fen(fen), text)) == move


@pytest.mark.parametrize(
    ("fen", "text", "said"),
    [
        (START, "炮二平", "no move in Chinese notation"),
        (START, "炮二跳五", "no move in Chinese notation"),
        (START, "龙二平五", "names no piece"),
        (START, "二二平五", "names no piece"),
        (START, "炮三平五", "Red has no cannon on file 三"),
        (START, "前炮平五", "no such cannon among several on one file"),
        (START, "马八平七", "cannot move like that"),
        (START, "车九进十", "no move in Chinese notation"),
        (START, "炮二退九", "cannot move like that"),
        ("4k4/9/9/9/2R6/9/2R6/9/9/3K5 w", "车七平八", "can mean two pieces"),
        (TWO_FILES, "前兵平五", "can mean two pieces"),
    ],
)
def test_what_cannot_be_read_is_said(fen, text, said):
    with pytest.raises(InputError) as caught:
        parse_chinese(Position.from_fen(fen), text)
    assert said in str(caught.value)


def test_every_move_of_random_games_goes_both_ways():
    chance = random.Random(3)
    for fen in [START, TWO_FILES, FIVE, THREE] * 5:
        position = Position.from_fen(fen)
        for _ in range(80):
            moves = position.legal_moves()
            if not moves:
                break
            texts = [chinese(position, move) for move in moves]
            assert [parse_chinese(position, text) for text in texts] == moves, position.fen()
            assert len(set(texts)) == len(texts)
            position.push(chance.choice(moves))
