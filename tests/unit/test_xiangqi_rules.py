"""Ends of games, repetition, and the sentence for each rule that a move can break."""

from __future__ import annotations

import pytest

from nlpx.xiangqi.formats.notation import parse_iccs
from nlpx.xiangqi.rules import repetition
from nlpx.xiangqi.rules.board import BLACK, RED, START, Position
from nlpx.xiangqi.rules.outcome import outcome, why_illegal
from nlpx.xiangqi.rules.pieces import NUM_MOVES


def played(fen: str, moves: str) -> Position:
    position = Position.from_fen(fen)
    for text in moves.split():
        move = parse_iccs(text)
        assert position.is_legal(move), text
        position.push(move)
    return position


@pytest.mark.parametrize(
    ("fen", "winner", "reason"),
    [
        ("3Rk4/4a4/9/9/9/9/9/9/9/3RK4 b", RED, "checkmate"),
        ("3k5/9/9/9/9/9/9/9/3r5/3rK4 w", BLACK, "checkmate"),
        ("3k5/2P6/9/9/9/9/9/9/9/4K4 b", RED, "stalemate"),
        ("5k3/9/9/9/9/9/9/9/5p3/3K5 w", None, None),
    ],
)
def test_no_move_is_a_loss(fen, winner, reason):
    found = outcome(Position.from_fen(fen))
    assert (found and (found.winner, found.reason)) == (None if reason is None else (winner, reason))


def test_the_game_goes_on():
    assert outcome(Position()) is None


CHECKING = "a0a9 d9d8 a9a8 d8d9 a8a9 d9d8 a9a8 d8d9 a8a9"


def test_perpetual_check_loses():
    position = played("3k5/9/9/9/9/9/9/9/9/R3K4 w", CHECKING)
    found = outcome(position)
    assert found == (BLACK, "perpetual check")
    assert found.result == "0-1"
    position.pop()
    assert outcome(position) is None


def test_a_quiet_move_between_the_checks_makes_it_a_draw():
    fen = "3k5/9/9/9/9/9/9/9/9/R3K4 w"
    cycle = "a0a9 d9d8 a9a8 d8d9 a8a0 d9d8 a0a8 d8d9 a8a0 d9d8 a0a8 d8d9 a8a0"
    found = outcome(played(fen, cycle))
    assert found == (None, "repetition")


def test_how_often_can_be_chosen():
    fen = "3k5/9/9/9/9/9/9/9/9/R3K4 w"
    twice = played(fen, "a0a9 d9d8 a9a8 d8d9 a8a9")
    assert outcome(twice) is None
    assert outcome(twice, repetitions=2) == (BLACK, "perpetual check")
    assert outcome(played(fen, CHECKING), repetitions=0) is None


CHASE = "c5b5 a5a6 b5b6 a6a5 b6b5 a5a6 b5b6 a6a5 b6b5"


@pytest.mark.parametrize(
    ("fen", "winner", "reason"),
    [
        # A rook after a cannon that nobody protects.
        ("3k5/9/9/9/c1R6/9/9/9/9/4K4 w", BLACK, "perpetual chase"),
        # The same with a rook behind the cannon.
        ("r2k5/9/9/9/c1R6/9/9/9/9/4K4 w", None, "repetition"),
        # Rook after rook: it could take as well.
        ("3k5/9/9/9/r1R6/9/9/9/9/4K4 w", None, "repetition"),
    ],
)
def test_perpetual_chase(fen, winner, reason):
    assert outcome(played(fen, CHASE)) == (winner, reason)


def test_a_king_may_chase():
    fen = "5k3/9/9/9/9/9/9/9/3c5/4K4 w"
    cycle = "e0e1 d1d0 e1e0 d0d1 e0e1 d1d0 e1e0 d0d1 e0e1"
    assert outcome(played(fen, cycle)) == (None, "repetition")


def test_a_rook_is_chased_by_a_cannon_even_if_protected():
    # The cannon turns up behind the pawn again and again; an advisor protects the rook on one square, nobody needs to.
    fen = "3k5/9/9/9/9/r1P1C4/9/9/9/4K4 w"
    cycle = "e4f4 a4a5 f4f5 a5a4 f5f4 a4a5 f4f5 a5a4 f5f4"
    found = outcome(played(fen, cycle))
    assert found == (None, "repetition")  # on a5 there is no screen: not every move is a chase
    fen = "r2k5/9/9/9/2P6/r1P1C4/9/9/9/4K4 w"
    assert outcome(played(fen, cycle)) == (BLACK, "perpetual chase")


# A red cannon looks along a rank at a black piece. A red knight comes between, a black cannon too, the knight leaves,
# the black cannon leaves: after each red move exactly one piece is between, so each attacks anew, and neither end of
# the rank has moved.
SCREENS = "b4c6 d8d6 c6b4 d6d8 " * 2
LOST, DRAWN = (BLACK, "perpetual chase"), (None, "repetition")


@pytest.mark.parametrize(
    ("fen", "moves", "expected"),
    [
        pytest.param("5k3/3c5/9/C3n4/9/1N7/9/9/9/3K5 w", SCREENS, LOST, id="a knight that nobody protects"),
        pytest.param("5k3/3c5/9/C3nr3/9/1N7/9/9/9/3K5 w", SCREENS, DRAWN, id="protected by a rook"),
        pytest.param("5k3/3c5/9/C3nr3/9/1N7/9/5R3/9/3K5 w", SCREENS, LOST, id="by a rook that is pinned"),
        pytest.param("5k3/3c5/9/C3p4/9/1N7/9/9/9/3K5 w", SCREENS, DRAWN, id="a pawn on its side of the river"),
        pytest.param(
            "5k3/3c5/9/9/9/C3p4/9/1N7/9/3K5 w", "b2c4 d8d4 c4b2 d4d8 " * 2, LOST, id="a pawn that has crossed"
        ),
        pytest.param("4k4/3c5/9/C3c4/9/1N7/9/9/9/5K3 w", SCREENS, DRAWN, id="a cannon that could take the cannon"),
        pytest.param("4k4/3c5/9/C3c4/9/1N7/9/9/9/4K4 w", SCREENS, LOST, id="one that the kings' file holds"),
        pytest.param("5k3/7c1/9/3C4n/9/6N2/9/9/9/3K5 w", "g4f6 h8h6 f6g4 h6h8 " * 2, LOST, id="by a free cannon"),
        pytest.param(
            "3r1k3/7c1/9/3C4n/9/6N2/9/9/9/3K5 w", "g4f6 h8h6 f6g4 h6h8 " * 2, DRAWN, id="by one that is pinned"
        ),
        pytest.param("5k3/9/3c5/2P6/9/9/9/9/9/4K4 w", "c6d6 d7c7 d6c6 c7d7 " * 2, DRAWN, id="a pawn may chase"),
        pytest.param(
            "3r1k3/9/3r5/9/9/2N6/9/9/9/4K4 w", "c4e5 d7d6 e5c4 d6d7 " * 2, LOST, id="a protected rook by a knight"
        ),
        pytest.param(
            "3k5/9/9/9/9/5p3/4R4/9/9/5K3 w", "e3f3 f4e4 f3e3 e4f4 " * 2, LOST, id="a pawn that could take the rook"
        ),
        pytest.param("3k5/9/9/8r/c1R6/9/9/9/9/4K4 w", CHASE, DRAWN, id="protected from behind the rook that takes"),
        pytest.param(
            "5k3/9/9/9/9/n7R/9/9/9/3K5 w", "d0d1 f9f8 d1d0 f8f9 " * 2, DRAWN, id="attacked all the time, never anew"
        ),
    ],
)
def test_what_is_a_chase_and_what_is_none(fen, moves, expected):
    assert outcome(played(fen, moves)) == expected


@pytest.mark.parametrize(
    ("checks", "chases", "expected"),
    [
        ([RED], [], (BLACK, "perpetual check")),
        ([RED, BLACK], [], (None, "perpetual check by both sides")),
        ([RED], [BLACK], (BLACK, "perpetual check")),  # checks are looked at first
        ([RED, BLACK], [BLACK], (None, "perpetual check by both sides")),
        ([], [BLACK], (RED, "perpetual chase")),
        ([], [RED, BLACK], (None, "perpetual chase by both sides")),
        ([], [], (None, "repetition")),
    ],
)
def test_the_order_of_judgement(monkeypatch, checks, chases, expected):
    monkeypatch.setattr(repetition, "_pressed", lambda first, moves: (checks, chases))
    assert outcome(played("3k5/9/9/9/9/9/9/9/9/R3K4 w", CHECKING)) == expected


def test_a_capture_ends_the_search_for_repetitions():
    position = played(START, "h2h9 i9h9 " + "h0g2 h9h8 g2h0 h8h9 " * 2)
    assert outcome(position) == (None, "repetition")
    once = played(START, "h2h9 i9h9 h0g2 h9h8 g2h0 h8h9")
    assert outcome(once) is None


def test_sixty_moves_are_an_option():
    fen = "3k5/9/9/9/9/9/9/4B4/9/4K4 w - - {} 80"
    assert outcome(Position.from_fen(fen.format(120))) is None
    assert outcome(Position.from_fen(fen.format(120)), sixty_moves=True) == (None, "60 moves without a capture")
    assert outcome(Position.from_fen(fen.format(119)), sixty_moves=True) is None


@pytest.mark.parametrize(
    ("fen", "move", "said"),
    [
        (START, "e5e6", "there is no piece on e5"),
        (START, "h9g7", "is Black's knight, but Red is to move"),
        (START, "a0b0", "b0 holds Red's knight, a piece of the same side"),
        (START, "b0d1", "the knight's leg on c0 is blocked"),
        (START, "a0a5", "the rook cannot jump over a3"),
        (START, "h2h8", "the cannon cannot jump over h7"),
        (START, "h2h7", "captures over exactly one piece, here are 0 between"),
        (START, "e3d3", "sideways only after it has crossed the river"),
        (START, "e3e2", "one point forward, across the river also sideways, never back"),
        (START, "e0e2", "a king moves one point straight, within its palace"),
        (START, "d0d1", "an advisor moves one point diagonally, within its palace"),
        (START, "c0d1", "an elephant moves exactly two points diagonally"),
        (START, "b0b2", "b2 holds Red's cannon"),
        (START, "b0c3", "c3 holds Red's pawn"),
        (START, "b0b1", "a knight moves one point straight and one more diagonally outwards"),
        (START, "a0b1", "a rook moves along ranks and files"),
        ("3k5/9/9/9/9/2B6/9/9/9/4K4 w", "c4e6", "an elephant cannot cross the river"),
        ("3k5/9/9/9/9/9/9/4B4/9/4K4 w", "e2c4", ""),
        ("4k4/9/9/9/9/9/9/9/4A4/4K4 w", "e1d2", "the kings would face each other"),
        ("3k5/9/9/9/9/4r4/9/9/4R4/4K4 w", "e1d1", "it would leave Red in check"),
        ("3k5/9/9/9/9/4r4/9/9/9/R3K4 w", "a0a1", "Red is in check and would stay so"),
        ("3Rk4/4a4/9/9/9/9/9/9/9/3RK4 b", "e9e8", "the game is over: Black is mated"),
        ("3k5/2P6/9/9/9/9/9/9/9/4K4 b", "d9d8", "the game is over: Black has no move left"),
        (START, "h2e2", ""),
    ],
)
def test_why_a_move_is_illegal(fen, move, said):
    found = why_illegal(Position.from_fen(fen), parse_iccs(move))
    assert said in found
    assert bool(found) == bool(said)


def test_every_illegal_move_has_a_reason_and_no_legal_one():
    for fen in (START, "1cbak4/9/n2a5/2p1p3p/5cp2/2n2N3/6PCP/3AB4/2C6/3A1K1N1 w"):
        position = Position.from_fen(fen)
        for move in range(NUM_MOVES):
            assert bool(why_illegal(position, move)) != position.is_legal(move)
    assert "numbered" in why_illegal(Position(), NUM_MOVES)
