"""Games as tokens, and as rows to learn from."""

from __future__ import annotations

import numpy as np
import pytest

import xiangqi_games
from nlpx.jobs.chess_lm.config import Config
from nlpx.xiangqi.formats.games import Game
from nlpx.xiangqi.formats.notation import iccs, parse_iccs
from nlpx.xiangqi.model.games import TrainingGames, is_held_out
from nlpx.xiangqi.model.objective import MoveObjective
from nlpx.xiangqi.model.tokens import MoveVocabulary, losing_side, possible_moves
from nlpx.xiangqi.rules.pieces import BLACK, RED, mirrored

MOVES = [parse_iccs(word) for word in xiangqi_games.OPENING.split()]


def rows(*games: Game, tokens: str = "moves", results: bool = False, **choices: object) -> TrainingGames:
    return TrainingGames(list(games), MoveVocabulary(tokens, results=results), **({"max_length": 100} | choices))


def test_two_thousand_and_eighty_six_moves_are_possible():
    # 1530 along lines, 508 of knights, 32 of elephants between their seven points, 16 of advisors on their diagonals.
    moves = {iccs(move) for move in possible_moves()}
    assert len(moves) == 1530 + 508 + 32 + 16
    assert {"a0a9", "b0c2", "c0e2", "d0e1", "e8f7", "g9i7"} <= moves
    assert not {"a0b0a0", "a0b1", "e1e1", "e4g6", "a0c2"} & moves  # no piece goes so; no elephant crosses the river


@pytest.mark.parametrize(("form", "size", "length"), [("characters", 20, 24), ("moves", 2087, 6)])
def test_a_game_becomes_tokens_and_back(form, size, length):
    vocabulary = MoveVocabulary(form)
    ids = vocabulary.encode(MOVES)
    assert (vocabulary.vocab_size, len(ids)) == (size, length)
    assert vocabulary.decode(ids) == MOVES
    assert vocabulary.start() == vocabulary.start("1-0") == 0
    assert 0 not in ids


def test_characters_are_those_of_the_coordinates():
    vocabulary = MoveVocabulary("characters")
    assert [vocabulary.tokens[token] for token in vocabulary.encode(MOVES[:1])] == list("h2e2")
    assert vocabulary.decode([1, 1, 1, 1]) == [None]


def test_results_have_tokens_of_their_own():
    vocabulary = MoveVocabulary("moves", results=True)
    starts = [vocabulary.start(result) for result in ("*", "1-0", "1/2-1/2", "0-1")]
    assert sorted(starts) == list(range(2087, 2091))
    assert (vocabulary.start_for(RED), vocabulary.start_for(BLACK)) == (starts[1], starts[3])
    assert MoveVocabulary.from_dict(vocabulary.to_dict()) == vocabulary != MoveVocabulary("moves")
    assert [losing_side(result) for result in ("1-0", "0-1", "1/2-1/2", "*")] == [BLACK, RED, None, None]


def test_a_row_is_cut_between_moves():
    games = rows(Game(MOVES), tokens="characters", max_length=12)
    row, targets = games.row(0, np.random.default_rng(0))
    assert games.lengths == [9] == [len(row.token_ids)]
    assert games.vocabulary.decode(row.token_ids[1:].tolist()) == MOVES[:2]
    assert targets.tolist() == [False] + [True] * 8


@pytest.mark.parametrize(("result", "learned"), [("1-0", "101010"), ("0-1", "010101"), ("1/2-1/2", "111111")])
def test_a_loser_is_not_learned_from(result, learned):
    _, targets = rows(Game(MOVES, result), winner_only=True).row(0, np.random.default_rng(0))
    assert "".join(str(int(target)) for target in targets[1:]) == learned


def test_mirrored_games_are_the_same_games_seen_from_the_other_side():
    games = rows(Game(MOVES), mirror=1.0)
    row, _ = games.row(0, np.random.default_rng(0))
    found = games.vocabulary.decode(row.token_ids[1:].tolist())
    assert found == [mirrored(move) for move in MOVES]
    assert iccs(found[0]) == "b2e2"
    halves = rows(Game(MOVES), mirror=0.5)
    turned = sum(halves.row(0, np.random.default_rng(n))[0].token_ids[1] != row.token_ids[1] for n in range(400))
    assert 150 < turned < 250


def test_the_result_is_sometimes_hidden():
    games = rows(Game(MOVES, "1-0"), results=True)
    starts = [games.row(0, np.random.default_rng(n))[0].token_ids[0] for n in range(400)]
    hidden = starts.count(games.vocabulary.start("*"))
    assert 15 < hidden < 80
    assert starts.count(games.vocabulary.start("1-0")) == 400 - hidden


def test_a_batch_asks_for_every_learned_token():
    games = rows(Game(MOVES, "1-0"), Game(MOVES[:2], "0-1"), tokens="characters", winner_only=True)
    batch = MoveObjective(seed=1).batch(games, [0, 1], epoch=0)
    vocabulary = games.vocabulary
    assert vocabulary.decode(batch["targets"].tolist()) == [MOVES[0], MOVES[2], MOVES[4], MOVES[1]]
    assert batch["num_targets"] == 16
    flat = batch["token_ids"].flatten()
    assert flat[batch["lm_positions"] + 1].tolist() == batch["targets"].tolist()
    short = MoveObjective(seed=1).batch(games, [0, 1], epoch=0, plies=1)
    assert short["token_ids"].shape == (2, 5)


def test_batches_depend_on_seed_epoch_and_game_alone():
    games = rows(*xiangqi_games.games(12), mirror=0.5)
    one, again = MoveObjective(seed=3), MoveObjective(seed=3)
    first = one.batch(games, [3, 5], epoch=2)["token_ids"]
    one.batch(games, [1, 2], epoch=2)
    assert one.batch(games, [3, 5], epoch=2)["token_ids"].equal(first)
    assert again.batch(games, [3, 5], epoch=2)["token_ids"].equal(first)
    others = [one.batch(games, list(range(12)), epoch=epoch)["token_ids"] for epoch in (0, 1)]
    assert not others[0].equal(others[1])


def test_the_games_held_aside_are_always_the_same():
    games = xiangqi_games.games(400)
    aside = [is_held_out(game, 0.1) for game in games]
    assert 15 < sum(aside) < 75
    assert [is_held_out(Game([mirrored(move) for move in game.moves]), 0.1) for game in games] == aside
    assert all(is_held_out(game, 0.5) for game, held in zip(games, aside, strict=True) if held)


def test_stages_of_a_curriculum_follow_each_other():
    with pytest.raises(ValueError, match="one after the other"):
        Config(data={"curriculum": [{"until": 9, "plies": 4}, {"until": 9, "plies": 8}]})
