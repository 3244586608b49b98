"""Scores of all legal continuations from one call: exact, remembered, and right after anything that may happen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xiangqi_games
from nlpx.xiangqi.formats.notation import iccs, parse_iccs
from nlpx.xiangqi.model.move_model import MoveModel, Ranking
from nlpx.xiangqi.play.choose import MoveChoice, choose, searched
from nlpx.xiangqi.rules.board import Position

MATED = "R2k5/1R7/9/9/9/9/9/9/9/4K4 b"
MATE_IN_ONE = "4k4/R8/9/9/9/9/9/9/8R/3K5 w"
FORMS = ("moves", "characters")


def after(text: str) -> Position:
    position = Position()
    for word in text.split():
        position.push(parse_iccs(word))
    return position


def log_probability(model: MoveModel, position: Position, moves: list[int]) -> float:
    """log P of a whole game, read anew: the definition."""
    vocabulary = model.vocabulary
    ids = torch.tensor([[vocabulary.start_for(position.turn), *vocabulary.encode(moves)]])
    with torch.inference_mode():
        scores = model.model(ids).logits[0, :-1].double().log_softmax(dim=-1)
    return float(scores.gather(1, ids[0, 1:, None]).sum())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("results", [False, True])
def test_a_score_is_what_the_move_adds_to_the_game(form, results):
    model, position = xiangqi_games.model_of(form, results=results), after(xiangqi_games.OPENING)
    ranking = model.read().rank([position])[0]
    before = log_probability(model, position, position.history)
    expected = [log_probability(model, position, [*position.history, move]) - before for move in ranking.moves]
    assert list(ranking.moves) == position.legal_moves()
    np.testing.assert_allclose(ranking.log_probabilities, expected, atol=1e-5)
    assert ranking.mass == pytest.approx(sum(np.exp(expected)), abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_many_games_at_once_are_each_as_if_alone(form):
    model, random = xiangqi_games.model_of(form), np.random.default_rng(2)
    games = [after(""), after("h2e2"), after(xiangqi_games.OPENING), after("b2e2 h9g7")]
    reader = model.read()
    for round_number in range(6):
        together = reader.rank(games)
        for position, ranking in zip(games, together, strict=True):
            alone = model.read().rank([position])[0]
            assert alone.moves == ranking.moves
            assert alone.first_choice == ranking.first_choice
            np.testing.assert_allclose(ranking.log_probabilities, alone.log_probabilities, atol=1e-5)
            position.push(ranking.moves[int(random.integers(len(ranking.moves)))])
        if round_number == 2:
            games = [games[3], games[0], after("c3c4")]  # some end, one comes in


@pytest.mark.parametrize("form", FORMS)
def test_taken_back_and_another_game(form):
    model, position = xiangqi_games.model_of(form), after(xiangqi_games.OPENING)
    reader = model.read()
    reader.rank([position])
    for _ in range(3):
        position.pop()
    position.push(parse_iccs("g0e2"))
    for other in (position, after("c3c4 g6g5"), position):
        found, expected = reader.rank([other])[0], model.read().rank([other])[0]
        np.testing.assert_allclose(found.log_probabilities, expected.log_probabilities, atol=1e-5)


def test_nothing_is_read_twice(monkeypatch):
    model, position = xiangqi_games.model_of("characters"), after(xiangqi_games.OPENING)
    reader, widths = model.read(), []
    forward = model.model.forward
    monkeypatch.setattr(
        model.model, "forward", lambda ids, *rest, **named: widths.append(ids.shape) or forward(ids, *rest, **named)
    )
    for move in ("a0a1", "a9a8"):
        nodes = len({iccs(legal)[:length] for legal in position.legal_moves() for length in (1, 2, 3)})
        reader.rank([position])
        new = 4 if len(widths) > 1 else 25  # the start and six moves, then only the new one
        assert widths[-1] == (1, new + nodes)  # the tree in the same call, one row
        position.push(parse_iccs(move))
    assert len(widths) == 2


@pytest.mark.parametrize("form", FORMS)
def test_the_first_choice_is_what_the_model_writes_by_itself(form):
    model = xiangqi_games.model_of(form, seed=4)
    vocabulary, num_legal = model.vocabulary, 0
    for words in ("", "h2e2", "h2e2 h9g7", xiangqi_games.OPENING):
        position = after(words)
        ids = [vocabulary.start(), *vocabulary.encode(position.history)]
        for _ in range(vocabulary.per_move):
            ids.append(int(model.model(torch.tensor([ids])).logits[0, -1].argmax()))
        written = ids[-vocabulary.per_move :]
        expected = vocabulary.decode(written)[0]
        found = model.read().rank([position])[0].first_choice
        assert found == (expected if expected in position.legal_moves() else None)
        num_legal += found is not None
    biased = xiangqi_games.model_of(form, seed=4)
    if form == "moves":
        with torch.no_grad():
            biased.model.lm_head.bias[vocabulary.ids_of_move[parse_iccs("h2e2")][0]] = 100.0
        assert biased.read().rank([after("")])[0].first_choice == parse_iccs("h2e2")
        assert biased.read().rank([after("h2e2")])[0].first_choice is None


@pytest.mark.parametrize("form", FORMS)
def test_no_legal_move_is_mate_and_no_crash(form):
    model, position = xiangqi_games.model_of(form), Position.from_fen(MATED)
    ranking = model.read().rank([position, after("")])[0]
    assert (ranking.moves, ranking.best(), ranking.first_choice, ranking.mass) == ((), [], None, 0.0)
    assert choose(position, ranking, MoveChoice(), np.random.default_rng(0)) is None
    assert choose(position, ranking, MoveChoice(search=2), np.random.default_rng(0)) is None
    assert model.read().rank([]) == []


@pytest.mark.parametrize(
    ("form", "choices"),
    [
        ("moves", {"position": "learned", "max_position_embeddings": 24}),
        ("characters", {"position": "learned", "max_position_embeddings": 60}),
        ("moves", {"position": "hierarchical", "max_position_embeddings": 13}),
        ("characters", {"position": "rotary"}),
    ],
)
def test_games_longer_than_the_positions_go_on(form, choices):
    model, position, random = xiangqi_games.model_of(form, **choices), Position(), np.random.default_rng(0)
    reader = model.read()
    for _ in range(150):
        ranking = reader.rank([position])[0]
        if not ranking.moves:
            break
        position.push(ranking.moves[int(random.integers(len(ranking.moves)))])
    assert len(position.history) > 127
    assert np.isfinite(ranking.log_probabilities).all()
    np.testing.assert_allclose(
        reader.rank([position])[0].log_probabilities, model.read().rank([position])[0].log_probabilities, atol=1e-5
    )


def test_even_rows_of_a_learned_table_need_no_more_positions_than_they_have():
    model = xiangqi_games.model_of("moves", position="learned", max_position_embeddings=24)
    long, short = after(xiangqi_games.OPENING), after("h2e2")
    reader = model.read()
    reader.rank([long])
    for _ in range(5):
        for move in ("a0a1", "a9a8", "a1a0", "a8a9"):
            long.push(parse_iccs(move))
    assert len(reader.rank([long, short])) == 2


# MoveChoice


def ranking(*shares: float) -> Ranking:
    return Ranking(tuple(range(len(shares))), np.log(np.array(shares)) - 1)


def test_temperature():
    found = ranking(0.5, 0.3, 0.2)
    np.testing.assert_allclose(found.probabilities(), [0.5, 0.3, 0.2])
    np.testing.assert_allclose(found.probabilities(0.5), np.array([25, 9, 4]) / 38)
    assert found.order() == [0, 1, 2]
    random = np.random.default_rng(0)
    drawn = [choose(Position(), found, MoveChoice(temperature=1.0), random) for _ in range(2000)]
    np.testing.assert_allclose(np.bincount(drawn) / 2000, [0.5, 0.3, 0.2], atol=0.04)
    assert choose(Position(), found, MoveChoice(), random) == 0


def test_a_search_sees_what_the_model_does_not():
    position = Position.from_fen(MATE_IN_ONE)
    scores = np.zeros(len(position.legal_moves()))
    for index, move in enumerate(position.legal_moves()):
        if wins(position, move):
            scores[index] = -50.0  # far from the model's proposals
    found = Ranking(tuple(position.legal_moves()), scores)
    board = list(position.board)
    for search in (1, 2, 3):
        chosen = choose(position, found, MoveChoice(search=search, width=3), np.random.default_rng(0))
        assert chosen is not None
        assert wins(position, chosen)
        assert position.board == board
    assert not wins(position, choose(position, found, MoveChoice(), np.random.default_rng(0)))


def test_a_search_with_a_temperature_draws_by_what_moves_are_worth():
    position = Position()
    scores = np.zeros(len(position.legal_moves()))
    scores[:3] = 9.0, 8.0, 7.0
    found, random = Ranking(tuple(position.legal_moves()), scores), np.random.default_rng(0)
    how = MoveChoice(search=1, width=3, temperature=2.0)
    values = dict(searched(position, found, how))
    shares = np.exp(np.array(list(values.values())) / (how.trust * how.temperature))
    drawn = [choose(position, found, how, random) for _ in range(2000)]
    counts = [drawn.count(move) / len(drawn) for move in values]
    np.testing.assert_allclose(counts, shares / shares.sum(), atol=0.04)
    assert len(set(drawn)) == 3


def wins(position: Position, move: int) -> bool:
    position.push(move)
    replies = position.legal_moves()
    position.pop()
    return not replies


def test_the_model_decides_between_moves_that_material_leaves_equal():
    position = Position()
    scores = np.zeros(len(position.legal_moves()))
    scores[position.legal_moves().index(parse_iccs("c3c4"))] = 8.0
    found = Ranking(tuple(position.legal_moves()), scores)
    values = searched(position, found, MoveChoice(search=2, width=5))
    assert iccs(values[0][0]) == "c3c4"
    assert len(values) == 5
