"""The small engine, the other players, matches between them, and what is measured of a model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import xiangqi_games
from nlpx.errors import UsageError
from nlpx.xiangqi.formats.games import Game
from nlpx.xiangqi.formats.notation import iccs, parse_iccs
from nlpx.xiangqi.model.measures import Written, by_phase, legality, openings, predictions, write_games_freely
from nlpx.xiangqi.play.alpha_beta import MATE, AlphaBeta, material
from nlpx.xiangqi.play.choose import MoveChoice
from nlpx.xiangqi.play.matches import Played, Score, play, score
from nlpx.xiangqi.play.players import NAMES, CapturePlayer, ModelPlayer, RandomPlayer, opponent
from nlpx.xiangqi.rules.board import Position
from nlpx.xiangqi.rules.outcome import Outcome
from nlpx.xiangqi.rules.pieces import BLACK, RED

HANGING_ROOK = "4k4/9/9/9/4r4/9/4R4/9/9/3K5 w"
MATE_IN_TWO = "3k5/9/R8/1R7/9/9/9/9/9/5K3 w"
MATE_IN_ONE = "4k4/R8/9/9/9/9/9/9/8R/3K5 w"


def random() -> np.random.Generator:
    return np.random.default_rng(1)


def plain_minimax(position: Position, depth: int, ply: int = 0) -> float:
    """The same value without any cut."""
    if depth == 0:
        return material(position)
    moves = position.legal_moves()
    if not moves:
        return ply - MATE
    values = []
    for move in moves:
        position.push(move)
        values.append(-plain_minimax(position, depth - 1, ply + 1))
        position.pop()
    return max(values)


def some_positions(count: int) -> list[Position]:
    return [_played(game) for game in xiangqi_games.games(count, seed=9, plies=(6, 50))]


def _played(game: Game) -> Position:
    position = Position()
    for move in game.moves:
        position.push(move)
    return position


def test_the_start_is_even_and_sides_are_mirror_images():
    assert material(Position()) == pytest.approx(0.0)
    position = Position()
    position.push(parse_iccs("h2e2"))
    position.push(parse_iccs("h7e7"))
    assert material(position) == pytest.approx(0.0)


@pytest.mark.parametrize("depth", [1, 2])
def test_nothing_is_cut_that_matters(depth):
    for position in some_positions(8):
        expected = plain_minimax(position, depth)
        assert AlphaBeta(depth).value(position) == pytest.approx(expected)
        for move in AlphaBeta(depth).best(position):
            position.push(move)
            assert -plain_minimax(position, depth - 1, 1) == pytest.approx(expected)
            position.pop()


def test_all_equally_good_moves_are_found():
    for position in some_positions(5):
        values = {}
        for move in position.legal_moves():
            position.push(move)
            values[move] = -material(position)
            position.pop()
        best = max(values.values(), default=0)
        assert AlphaBeta(1).best(position) == sorted(move for move, value in values.items() if best - value < 1e-9)


def test_the_engine_takes_what_hangs_and_mates():
    assert [iccs(move) for move in AlphaBeta(1).best(Position.from_fen(HANGING_ROOK))] == ["e3e5"]
    for move in AlphaBeta(2).best(Position.from_fen(MATE_IN_ONE)):
        position = Position.from_fen(MATE_IN_ONE)
        position.push(move)
        assert position.legal_moves() == []
    position = Position.from_fen(MATE_IN_TWO)
    assert AlphaBeta(4).value(position) == MATE - 3  # plies
    assert position.history == []


def test_captures_are_looked_at_to_their_end():
    # The pawn on e5 is protected: a rook that looks only at its own move takes it, and is taken.
    protected = Position.from_fen("4k4/9/4r4/9/4p4/9/4R4/9/9/3K5 w")
    assert [iccs(move) for move in AlphaBeta(1).best(protected)] == ["e3e5"]
    assert "e3e5" not in {iccs(move) for move in AlphaBeta(1, quiescence=2).best(protected)}


def test_the_greedy_player_takes_most():
    position = Position.from_fen("3k5/9/9/9/4n4/r3R4/9/9/9/5K3 w")
    assert CapturePlayer(random()).choose([position]) == [parse_iccs("e4a4")]
    quiet = CapturePlayer(random()).choose([Position()])[0]
    assert quiet in Position().legal_moves()


def test_players_by_name():
    for name in NAMES:
        player = opponent(name, random())
        assert player.name == name
        assert player.choose([Position()])[0] in Position().legal_moves()
        assert player.choose([Position.from_fen("R2k5/1R7/9/9/9/9/9/9/9/4K4 b")]) == [None]
    with pytest.raises(UsageError, match="unknown player `alpha`"):
        opponent("alpha", random())


# Matches


def test_every_opening_is_played_with_both_colours():
    opening = [parse_iccs(word) for word in xiangqi_games.OPENING.split()]
    told: list[int] = []
    games = play(opponent("alpha-beta-1", random()), RandomPlayer(random()), [opening, []], done=told.append)
    assert [game.first_is_red for game in games] == [True, False, True, False]
    assert [game.position.history[:6] == opening for game in games[:2]] == [True, True]
    assert told[-1] == 4
    assert told == sorted(told)
    total = score(games)
    assert total.num_games == sum(total.reasons.values()) == 4
    assert total.wins >= 1
    assert total.losses == 0


def test_a_game_that_does_not_end_is_a_draw():
    total = score(play(RandomPlayer(random()), RandomPlayer(random()), [[]], max_plies=6))
    assert (total.wins, total.draws, total.losses, total.reasons) == (0, 2, 0, {"too long": 2})


@pytest.mark.parametrize(("winner", "is_red", "points"), [(RED, True, 1), (RED, False, 0), (BLACK, False, 1)])
def test_points_go_to_the_side_that_won(winner, is_red, points):
    assert Played(Position(), is_red, Outcome(winner, "checkmate")).points == points
    assert Played(Position(), is_red, Outcome(None, "repetition")).points == 0.5


def test_elo():
    elo, low, high = Score(wins=75, losses=25).elo()
    assert elo == pytest.approx(400 * math.log10(75.5 / 25.5))
    assert low < elo < high
    assert Score(wins=7, draws=3, losses=7).elo()[0] == pytest.approx(0)
    assert math.isfinite(Score(wins=10).elo()[0])
    assert Score(wins=10).elo()[0] > 300
    narrow, wide = Score(wins=300, losses=100).elo(), Score(wins=30, losses=10).elo()
    assert narrow[2] - narrow[1] < wide[2] - wide[1]
    assert Score(wins=1, losses=3).elo()[0] == pytest.approx(-Score(wins=3, losses=1).elo()[0])


@pytest.mark.parametrize("form", ["moves", "characters"])
def test_a_model_plays_many_games_at_once(form):
    player = ModelPlayer(xiangqi_games.model_of(form), MoveChoice(temperature=1.0), random())
    games = play(player, CapturePlayer(random()), [[]] * 3, max_plies=20)
    assert len(games) == 6
    for game in games:
        again = Position()
        for move in game.position.history:
            assert again.is_legal(move)
            again.push(move)


# Measures


def test_masters_moves_are_counted_one_by_one():
    model = xiangqi_games.model_of("moves")
    games = [game for game in xiangqi_games.games(5, plies=(4, 30)) if game.moves]
    found = list(predictions(model, games))
    assert len(found) == sum(len(game.moves) for game in games)
    figures = by_phase(iter(found))
    assert figures["all"]["moves"] == sum(figures[name]["moves"] for name in figures if name != "all") == len(found)
    ranks = [[move for move, _ in ranking.best()].index(move) for _, ranking, move in found]
    assert figures["all"]["top_1"] == pytest.approx(np.mean(np.array(ranks) == 0), abs=1e-9)
    assert figures["all"]["top_5"] == pytest.approx(np.mean(np.array(ranks) < 5), abs=1e-9)
    assert figures["all"]["perplexity"] >= figures["all"]["among_legal"] >= 1
    assert 0 < figures["all"]["legal_mass"] < 1


def test_perplexity_is_that_of_the_whole_game():
    model = xiangqi_games.model_of("characters")
    game = Game([parse_iccs(word) for word in xiangqi_games.OPENING.split()])
    ids = torch.tensor([[0, *model.vocabulary.encode(game.moves)]])
    with torch.inference_mode():
        scores = model.model(ids).logits[0, :-1].double().log_softmax(dim=-1)
    total = float(scores.gather(1, ids[0, 1:, None]).sum())
    figures = by_phase(predictions(model, [game]))["all"]
    assert figures["perplexity"] == pytest.approx(math.exp(-total / 6), rel=1e-4)


def test_a_model_that_knows_one_move_is_lawful_once():
    model = xiangqi_games.model_of("moves")
    with torch.no_grad():
        model.model.lm_head.bias[model.vocabulary.ids_of_move[parse_iccs("h2e2")][0]] = 200.0
    written = write_games_freely(model, 5, random())
    assert [(len(game.moves), game.ended_illegally) for game in written] == [(1, True)] * 5
    found = legality(written)
    assert found["median_plies"] == 1
    assert found["legal_rate"] == pytest.approx(0.5)
    assert found["by_ply"] == [{"plies": "1-20", "legal": 0.5}]
    figures = by_phase(predictions(model, [Game([parse_iccs("h2e2")])]))["all"]
    assert figures["top_1"] == figures["legal_first"] == 1
    assert figures["perplexity"] == pytest.approx(1)


def test_the_rate_of_legal_moves_by_ply():
    written = [
        Written([0] * 30, ended_illegally=True),
        Written([0] * 50, ended_illegally=False),
        Written([], ended_illegally=True),
    ]
    found = legality(written, every=20)
    assert [round(row["legal"], 4) for row in found["by_ply"]] == [round(40 / 41, 4), round(30 / 31, 4), 1.0]
    assert found["without_illegal"] == 1
    assert legality([])["games"] == 0


def test_openings_in_common_with_masters():
    lines = [[1, 2], [1, 2], [3, 4], [5, 6]]
    written = [Written([*line, 9], ended_illegally=True) for line in ([1, 2], [1, 2], [7, 8])]
    found = openings(written, [Game(line) for line in lines], plies=2)
    assert found == {"plies": 2, "distinct": 2, "known_to_masters": 0.5, "fraction_of_masters_games": 0.5}
