"""Move generation against published counts and against a generator that was written another way."""

from __future__ import annotations

import os
import random

import pytest

import naive_xiangqi as naive
from nlpx.xiangqi.formats.notation import iccs, parse_iccs
from nlpx.xiangqi.rules.board import START, Position
from nlpx.xiangqi.rules.pieces import NUM_MOVES, mirrored

# The start, and the positions of the tables that engine authors compare.
PERFT = {
    START: (44, 1920, 79666, 3290240),
    "r1ba1a3/4kn3/2n1b4/pNp1p1p1p/4c4/6P2/P1P2R2P/1CcC5/9/2BAKAB2 w": (38, 1128, 43929, 1339047),
    "1cbak4/9/n2a5/2p1p3p/5cp2/2n2N3/6PCP/3AB4/2C6/3A1K1N1 w": (7, 281, 8620, 326201),
    "5a3/3k5/3aR4/9/5r3/5n3/9/3A1A3/5K3/2BC2B2 w": (25, 424, 9850, 202884),
    "CRN1k1b2/3ca4/4ba3/9/2nr5/9/9/4B4/4A4/4KA3 w": (28, 516, 14808, 395483),
    "R1N1k1b2/9/3aba3/9/2nr5/2B6/9/4B4/4A4/4KA3 w": (21, 364, 7626, 162837),
    "C1nNk4/9/9/9/9/9/n1pp5/B3C4/9/3A1K3 w": (28, 222, 6241, 64971),
    "4ka3/4a4/9/9/4N4/p8/9/4C3c/7n1/2BK5 w": (23, 345, 8124, 149272),
    "2b1ka3/9/b3N4/4n4/9/9/9/4C4/2p6/2BK5 w": (21, 195, 3883, 48060),
    "1C2ka3/9/C1Nab1n2/p3p3p/6p2/9/P3P3P/3AB4/3p2c2/c1BAK4 w": (30, 830, 22787, 649866),
    "CnN1k1b2/c3a4/4ba3/9/2nr5/9/9/4C4/4A4/4KA3 w": (19, 583, 11714, 376467),
}


def perft(position: Position, depth: int) -> int:
    moves = position.legal_moves()
    if depth == 1:
        return len(moves)
    total = 0
    for move in moves:
        position.push(move)
        total += perft(position, depth - 1)
        position.pop()
    return total


@pytest.mark.parametrize("fen", PERFT)
def test_perft(fen):
    position = Position.from_fen(fen)
    assert tuple(perft(position, depth) for depth in (1, 2, 3)) == PERFT[fen][:3]


@pytest.mark.slow
@pytest.mark.parametrize("fen", PERFT)
def test_perft_of_depth_4(fen):
    assert perft(Position.from_fen(fen), 4) == PERFT[fen][3]


@pytest.mark.slow
def test_the_naive_generator_counts_depth_4_too():
    assert naive.perft(*naive.read(START), 4) == PERFT[START][3]


@pytest.mark.parametrize("fen", PERFT)
def test_the_naive_generator_agrees_with_what_is_published(fen):
    board, red = naive.read(fen)
    assert tuple(naive.perft(board, red, depth) for depth in (1, 2)) == PERFT[fen][:2]


def random_positions(number: int, seed: int):
    """Positions of random games, some from middlegames and endgames."""
    chance = random.Random(seed)
    starts = list(PERFT)
    while number > 0:
        position = Position.from_fen(chance.choice(starts))
        for _ in range(120):
            moves = position.legal_moves()
            if not moves or number == 0:
                break
            yield position, moves
            number -= 1
            position.push(chance.choice(moves))


def compare(number: int, seed: int) -> None:
    for position, moves in random_positions(number, seed):
        board, red = naive.read(position.fen())
        assert {iccs(move) for move in moves} == naive.legal_moves(board, red), position.fen()
        assert len(set(moves)) == len(moves) <= 111
        assert position.in_check() == naive.in_check(board, red), position.fen()


def test_random_positions_agree_with_the_naive_generator():
    compare(3000, seed=1)


@pytest.mark.slow
def test_many_random_positions_agree_with_the_naive_generator():
    """NLPX_XIANGQI_POSITIONS=2000000 for a night."""
    compare(int(os.environ.get("NLPX_XIANGQI_POSITIONS", "60000")), seed=int(os.environ.get("NLPX_XIANGQI_SEED", "2")))


@pytest.mark.slow
def test_random_positions_agree_with_pyffish():
    pyffish = pytest.importorskip("pyffish", reason="pyffish is not installed; it is only ever an oracle")
    for position, moves in random_positions(3000, seed=3):
        fen = position.fen()
        theirs = pyffish.legal_moves("xiangqi", fen, [])  # it counts ranks from 1
        assert set(_from_one(moves)) == set(theirs), fen


def _from_one(moves: list[int]) -> list[str]:
    return [f"{text[0]}{int(text[1]) + 1}{text[2]}{int(text[3]) + 1}" for text in map(iccs, moves)]


def test_single_moves_are_judged_as_the_list_judges_them():
    for position, moves in random_positions(120, seed=4):
        assert [move for move in range(NUM_MOVES) if position.is_legal(move)] == sorted(moves)


def test_the_opening_moves():
    moves = {iccs(move) for move in Position().legal_moves()}
    assert len(moves) == 44
    assert {"h2e2", "b2e2", "b0c2", "h0g2", "e3e4", "a0a1", "h2h9"} <= moves
    assert not {"h2h7", "h2h8"} & moves


def test_mirrored_positions_have_mirrored_moves():
    for position, moves in random_positions(300, seed=5):
        rows, *rest = position.fen().split()
        flipped = Position.from_fen(" ".join(["/".join(row[::-1] for row in rows.split("/")), *rest]))
        assert sorted(map(mirrored, moves)) == sorted(flipped.legal_moves())


def test_exchanged_colours_have_as_many_moves():
    for position, moves in random_positions(300, seed=6):
        rows, turn, *rest = position.fen().split()
        turned = Position.from_fen(" ".join([rows[::-1].swapcase(), "b" if turn == "w" else "w", *rest]))
        assert len(turned.legal_moves()) == len(moves)


def test_taking_back_restores_everything():
    for position, moves in random_positions(200, seed=7):
        before = (position.fen(), position.key, position.in_check(), position.king_square(0), position.king_square(1))
        for move in moves:
            position.push(move)
            position.in_check()
            assert position.pop() == move
        after = (position.fen(), position.key, position.in_check(), position.king_square(0), position.king_square(1))
        assert after == before


def test_a_copy_goes_its_own_way():
    position = Position()
    position.push(parse_iccs("h2e2"))
    other = position.copy()
    other.push(parse_iccs("h9g7"))
    assert (len(position.history), len(other.history)) == (1, 2)
    other.pop()
    assert (other.fen(), other.key, other.history) == (position.fen(), position.key, position.history)


def test_the_key_is_pieces_and_turn():
    around, direct = Position(), Position()
    for text in ("h0g2", "h9g7", "g2h0", "g7h9"):
        around.push(parse_iccs(text))
    assert around.key == direct.key
    direct.push(parse_iccs("h0g2"))
    assert around.key != direct.key
    assert Position.from_fen(START.replace(" w ", " b ")).key != around.key


@pytest.mark.parametrize(
    ("fen", "move", "legal"),
    [
        ("4k4/9/9/9/9/9/9/9/4A4/4K4 w", "e1d2", False),  # the kings would face each other
        ("4k4/9/9/9/9/9/9/9/4A4/4K4 w", "e0d0", True),
        ("3k5/9/9/9/9/9/9/9/3r5/4K4 w", "e0d0", False),
        ("3k5/9/9/9/4c4/4p4/9/9/9/4K4 w", "e0e1", False),  # a cannon over one screen
        ("3k5/9/9/4n4/9/9/9/9/9/4K4 w", "e0e1", True),
        ("3k5/9/9/9/9/9/9/3n5/9/4K4 w", "e0f0", True),  # out of a knight's check
        ("3k5/9/9/9/9/9/9/R2n5/9/4K4 w", "a2d2", True),  # taking the knight
        ("3k5/9/9/9/9/9/9/R2n5/9/4K4 w", "a2a3", False),
        ("5k3/9/9/9/9/9/9/3n5/3R5/4K4 w", "d1a1", False),  # the leg would be free
        ("5k3/9/9/9/9/9/9/3n5/3R5/4K4 w", "d1d2", True),
        ("5k3/9/9/9/9/9/9/9/4p4/3K5 w", "d0d1", False),  # a pawn attacks sideways
    ],
)
def test_the_king_stays_out_of_check(fen, move, legal):
    assert Position.from_fen(fen).is_legal(parse_iccs(move)) is legal
