"""`nlpx chess-lm train`, `best`, `evaluate`, `play` and `uci` on models made in the test."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny
import xiangqi_games
from nlpx.models.checkpoints.load import load_model
from nlpx.xiangqi.formats.games import Game, write_games
from nlpx.xiangqi.formats.notation import iccs, parse_iccs
from nlpx.xiangqi.model.games import is_held_out
from nlpx.xiangqi.model.move_model import MoveModel
from nlpx.xiangqi.model.tokens import MoveVocabulary
from nlpx.xiangqi.rules.board import Position

SMALL = tiny.settings(*xiangqi_games.SMALL_MOVES)
TRAIN = ("chess-lm", "train", "--data", "games.jsonl", *SMALL)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    xiangqi_games.write(Path("games.jsonl"))
    xiangqi_games.save(xiangqi_games.model_of("moves"), Path("tiny"))


def typed(monkeypatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def shares(out: str) -> list[float]:
    return [float(word.rstrip("%")) for word in out.split() if word.endswith("%")]


# Training


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--tokens", "characters"),
        ("--set", "data.results=true", "--set", "data.learn=winner"),
        ("--set", "model.new.position=learned"),
        ("--set", "model.new.position=hierarchical", "--set", "data.mirror=0"),
        ("--tokens", "characters", "--set", "data.curriculum=[{until: 10, plies: 4}]"),
    ],
    ids=" ".join,
)
def test_training_makes_a_model_that_plays(nlpx, words):
    outcome = nlpx(*TRAIN, *words, "--out", "run")
    assert (outcome.code, outcome.out) == (0, "run\n"), outcome.err
    assert "move accuracy" in Path("run/report.md").read_text("utf-8")
    kept = {path.name for path in Path("run/checkpoints/best").iterdir()}
    assert kept == {"config.json", "model.safetensors", "xiangqi.json"}
    dev = [record for record in tiny.metrics(Path("run")) if record["split"] == "dev"]
    assert [record["step"] for record in dev] == [10, 20]
    assert dev[0]["perplexity"] > dev[1]["perplexity"] > 1
    answer = nlpx("chess-lm", "best", "h2e2", "--model", "run", "--json")
    row = json.loads(answer.out)
    assert answer.code == 0
    assert (row["moves"], row["turn"], len(row["candidates"])) == ("h2e2", "black", 5)
    assert row["best"] == row["candidates"][0]["move"]


def test_one_opening_is_learned_by_heart(nlpx):
    """Trained on nothing else, the model plays it, and knows its mirror image."""
    line = [parse_iccs(word) for word in f"{xiangqi_games.OPENING} g3g4 g6g5 g0i2 g9e7 d0e1 d9e8".split()]
    beginnings = {is_held_out(game, 0.5): game for game in (Game(line[:count]) for count in range(6, 13))}
    write_games("one.jsonl", [beginnings[True], beginnings[False]])
    quickly = tiny.settings("data.held_out=0.5", "train.steps=150", "optim.learning_rate=0.01", "tricks=[]")
    outcome = nlpx("chess-lm", "train", "--data", "one.jsonl", *SMALL, *quickly, "--out", "run")
    assert outcome.code == 0, outcome.err
    model, position = MoveModel.load("run/checkpoints/best"), Position()
    reader = model.read()
    likeliest = {iccs(move) for move, _ in reader.rank([position])[0].best(2)}
    assert likeliest == {"h2e2", "b2e2"}
    position.push(parse_iccs("b2e2"))
    for word in ("b9c7", "b0c2", "a9b9", "a0b0", "h9g7"):  # mirrored all along
        ranking = reader.rank([position])[0]
        assert iccs(ranking.best(1)[0][0]) == word
        assert ranking.first_choice == parse_iccs(word)
        assert ranking.mass > 0.8
        position.push(parse_iccs(word))


def test_an_interrupted_run_goes_on_to_the_bit(nlpx, monkeypatch):
    from nlpx.runs.following import Follower

    nlpx(*TRAIN, "--out", "whole")
    save = Follower._save

    def interrupted(follower):
        save(follower)
        if follower.training.step == 10:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Follower, "_save", interrupted)
    assert nlpx(*TRAIN, "--out", "run").code == 130
    monkeypatch.setattr(Follower, "_save", save)
    outcome = nlpx("chess-lm", "train", "--resume", "run")
    assert outcome.code == 0, outcome.err
    assert "resumed run after step 10\n" in outcome.err
    assert tiny.metrics(Path("run")) == tiny.metrics(Path("whole"))
    weights = [Path(folder, "checkpoints/best/model.safetensors").read_bytes() for folder in ("run", "whole")]
    assert weights[0] == weights[1]
    assert "nothing is left to do" in nlpx("chess-lm", "train", "--resume", "run").err


@pytest.mark.parametrize("lacks_head", [False, True])
def test_the_body_of_a_text_model_is_kept(nlpx, lacks_head):
    tiny.bert(Path("text"), "BertModel" if lacks_head else "BertForMaskedLM", max_position_embeddings=200)
    never = ("--set", "optim.learning_rate=1e-12", "--set", "optim.weight_decay=0")
    outcome = nlpx("chess-lm", "train", "--data", "games.jsonl", "--model", "text", *SMALL[2:], *never, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "its body is kept; the table of 2,087 tokens starts anew" in outcome.err
    before, after = load_model("text"), load_model("run/checkpoints/best")
    kept = {name for name, weight in after.state_dict().items() if name.startswith("layers.")}
    for name in kept:
        torch.testing.assert_close(after.state_dict()[name], before.state_dict()[name], atol=1e-6, rtol=0)
    table = after.embeddings.word_embeddings.weight
    assert table.shape[0] == 2087
    assert float(table.std()) == pytest.approx(after.config.initializer_range, rel=0.2)
    assert "preset chess-lm/continue" in outcome.err


def test_a_model_of_moves_goes_on(nlpx):
    quickly = tiny.settings("tricks=[]", "optim.learning_rate=0.003")
    nlpx(*TRAIN, *quickly, "--out", "first")
    start = ("--model", "first/checkpoints/best", *SMALL[2:], *quickly)
    outcome = nlpx("chess-lm", "train", "--data", "games.jsonl", *start, "--out", "second")
    assert outcome.code == 0, outcome.err
    assert "starts anew" not in outcome.err
    perplexities = [tiny.metrics(Path(run))[-1]["perplexity"] for run in ("first", "second")]
    assert perplexities[1] < perplexities[0]


def test_weights_are_published_in_half_the_bytes(nlpx):
    for name in ("float32", "bfloat16"):
        nlpx(*TRAIN, "--set", f"stored_type={name}", "--out", name)
    sizes = [Path(name, "checkpoints/best/model.safetensors").stat().st_size for name in ("float32", "bfloat16")]
    assert sizes[1] < 0.6 * sizes[0]
    found = [
        json.loads(nlpx("chess-lm", "best", "", "--model", name, "--json").out) for name in ("float32", "bfloat16")
    ]
    shares = [row["candidates"][0]["probability"] for row in found]
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


def test_a_dry_run_writes_nothing(nlpx):
    outcome = nlpx("chess-lm", "train", "--data", "games.jsonl", "--preset", "xiangqi-tiny", "--dry-run", "--json")
    plan = json.loads(outcome.out)
    assert outcome.code == 0, outcome.err
    assert plan["seconds"] > 0
    assert plan["games"]["train"] + plan["games"]["held_out"] == 60
    assert 2 * plan["parameters"] <= 12e6  # bytes in bfloat16
    assert "chess-lm-train-moves-7" in plan["run"]
    assert not Path("runs").exists()


def test_games_that_cannot_be_learned_are_counted(nlpx):
    with Path("games.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"moves": "h2e2 h2h9", "result": "*"}) + "\n")
        file.write(json.dumps({"moves": "a0a1", "fen": "3k5/9/9/9/9/9/9/9/9/R4K3 w"}) + "\n")
    outcome = nlpx(*TRAIN, "--dry-run")
    assert outcome.code == 0
    assert "1 games were left out; the first: games.jsonl: game 61" in outcome.err
    assert "1 games do not begin at the start" in outcome.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "there are no games"),
        (("--data", "missing.jsonl"), 3, "missing.jsonl"),
        (("--data", "games.jsonl", "--tokens", "letters"), 2, "letters"),
        (("--data", "games.jsonl", "--set", "data.tokenz=moves"), 2, "data.tokenz"),
        (("--data", "games.jsonl", "--preset", "xiangqi-tinny"), 2, "xiangqi-tiny"),
        (("--data", "games.jsonl", "--set", "model.new.choices.attention=performer"), 2, "cannot play"),
        (("--data", "games.jsonl", "--set", "data.held_out=0.001"), 3, "none is left to evaluate"),
        (("--data", "games.jsonl", "--model", "no-such"), 3, "no-such"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_training_refuses(nlpx, words, code, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    outcome = nlpx("chess-lm", "train", *words, "--out", "run")
    assert outcome.code in (code, 4 if message == "no-such" else code), outcome.err
    assert message in outcome.err
    assert not Path("run").exists()


# Asking


def test_ranked_moves(nlpx):
    outcome = nlpx("chess-lm", "best", "h2e2 h9g7", "--model", "tiny", "--top", "4")
    assert outcome.code == 0, outcome.err
    head, *lines = outcome.out.splitlines()
    assert head.split() == ["move", "chinese", "probability"]
    assert len(lines) == 4
    chances = shares(outcome.out.replace(" %", "%"))
    assert chances == sorted(chances, reverse=True)


@pytest.mark.parametrize("moves", ["h2e2 h9g7", "H2-E2 H9-G7", "炮二平五 马8进7", "h2e2,h9g7"])
def test_every_notation_means_the_same(nlpx, moves):
    found = json.loads(nlpx("chess-lm", "best", moves, "--model", "tiny", "--json").out)
    assert found == json.loads(nlpx("chess-lm", "best", "h2e2 h9g7", "--model", "tiny", "--json").out)


def test_all_legal_moves_make_one(nlpx):
    row = json.loads(nlpx("chess-lm", "best", "", "--model", "tiny", "--top", "200", "--json").out)
    assert len(row["candidates"]) == 44
    assert sum(found["probability"] for found in row["candidates"]) == pytest.approx(1)
    assert {found["move"]: found["chinese"] for found in row["candidates"]}["h2e2"] == "炮二平五"


def test_a_game_a_line(nlpx, monkeypatch):
    games = ["h2e2 h9g7", "", "h2e2", json.dumps({"moves": "i1i9", "fen": "4k4/R8/9/9/9/9/9/9/8R/3K5 w"})]
    expected = [nlpx("chess-lm", "best", game, "--model", "tiny", "--quiet").out for game in games]
    assert expected[3] == "-\n"
    typed(monkeypatch, "".join(f"{game}\n" for game in games))
    outcome = nlpx("chess-lm", "best", "-", "--model", "tiny", "--quiet")
    assert outcome.out == "".join(expected)
    typed(monkeypatch, "h2e2\n\n")
    lines = nlpx("chess-lm", "best", "--model", "tiny").out.splitlines()
    assert [len(shares(line)) for line in lines] == [5, 5]


def test_from_a_position(nlpx):
    fen = ("--fen", "4k4/R8/9/9/9/9/9/9/8R/3K5 w")
    plain = nlpx("chess-lm", "best", *fen, "--model", "tiny")
    assert plain.code == 0
    assert "without its moves" in plain.err
    row = json.loads(nlpx("chess-lm", "best", *fen, "--model", "tiny", "--search", "1", "--json").out)
    assert row["candidates"][0]["value"] == 1000
    mated = nlpx("chess-lm", "best", "i1i9", *fen, "--model", "tiny")
    assert (mated.code, mated.out) == (0, "no legal move: 1-0 checkmate\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("h2h8",), 3, "ply 1: h2h8 is illegal: the cannon cannot jump over h7"),
        (("h2e2 h2e2",), 3, "ply 2"),
        (("h2e2 x",), 3, "ply 2"),
        (("--fen", "4k4/9/9/9/9/9/9/9/9/3KK4 w"), 3, "2 kings"),
        (("--fen", "9 w"), 3, "FEN"),
        (("", "--model", "no-such-model"), 2, "no-such-model"),
        (("", "--top", "0"), 2, "top"),
    ],
)
def test_what_asking_refuses(nlpx, words, code, message):
    model = () if "--model" in words else ("--model", "tiny")
    outcome = nlpx("chess-lm", "best", *words, *model)
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_a_bad_line_is_named(nlpx, monkeypatch):
    typed(monkeypatch, "h2e2\nh2h9 h2h9\n")
    outcome = nlpx("chess-lm", "best", "-", "--model", "tiny", "--quiet")
    assert outcome.code == 3
    assert "line 2: ply 2" in outcome.err
    assert len(outcome.out.splitlines()) == 1  # what came before it is answered


def test_a_text_model_cannot_play(nlpx):
    tiny.bert(Path("text"))
    outcome = nlpx("chess-lm", "best", "", "--model", "text")
    assert outcome.code == 3
    assert "not a model of Xiangqi moves" in outcome.err


# Measuring


def test_all_figures(nlpx):
    words = ("chess-lm", "evaluate", "games.jsonl", "--model", "tiny", "--pairs", "1", "--written", "4")
    outcome = nlpx(*words, "--against", "random", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["masters"]["all"]["moves"] > 50
    assert found["written"]["games"] == 4
    (match,) = found["matches"]
    assert match["wins"] + match["draws"] + match["losses"] == 2
    assert match["low"] <= match["elo"] <= match["high"]
    again = json.loads(nlpx(*words, "--against", "random", "--json").out)
    assert again == found
    text = nlpx(*words, "--against", "random").out
    assert all(word in text for word in ("opening, plies 1-20", "median_plies", "known_to_masters", "elo"))
    quiet = nlpx(*words[:-4], "--pairs", "0", "--written", "0", "--quiet")
    assert float(quiet.out) == pytest.approx(found["masters"]["all"]["top_1"], abs=1e-4)


def test_only_games_held_aside_are_compared_with(nlpx):
    words = ("chess-lm", "evaluate", "games.jsonl", "--model", "tiny", "--pairs", "0", "--written", "0", "--json")
    aside, every = (json.loads(nlpx(*words, *more).out)["games"] for more in ((), ("--all-games",)))
    assert 5 < aside < 35
    assert every == 60


def test_positions_solved(nlpx):
    positions = [
        {"fen": "4k4/R8/9/9/9/9/9/9/8R/3K5 w", "moves": "i1i9", "kind": "mate"},
        {"fen": "4k4/9/9/9/4r4/9/4R4/9/9/3K5 w", "moves": "e3e5", "kind": "endgame"},
    ]
    tiny.write_rows(Path("positions.jsonl"), positions)
    words = ("chess-lm", "evaluate", "positions.jsonl", "--positions", "--model", "tiny", "--search", "2", "--json")
    rows = [json.loads(line) for line in nlpx(*words).out.splitlines()]
    assert [row["kind"] for row in rows] == ["all", "mate", "endgame"]
    assert rows[0]["positions"] == 2
    assert rows[2] == {"kind": "endgame", "positions": 1, "first": 1, "top_five": 1}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("games.jsonl", "--against", "alpha-beta-9"), 2, "alpha-beta-1"),
        (("missing.jsonl",), 3, "missing.jsonl"),
        (("empty.jsonl",), 3, "held out"),
        (("empty.jsonl", "--positions"), 3, "no position"),
    ],
)
def test_what_measuring_refuses(nlpx, words, code, message):
    Path("empty.jsonl").write_text("")
    outcome = nlpx("chess-lm", "evaluate", *words, "--model", "tiny")
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    assert message in outcome.err


# Playing


def test_a_game_over_a_pipe(nlpx, monkeypatch):
    typed(monkeypatch, "炮二平五\nmoves\nh2h2\nb0c2\nresign\n")
    outcome = nlpx("chess-lm", "play", "--model", "tiny", "--save", "game.pgn")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("楚  河") == 3
    assert "Red: 炮二平五 h2e2\n" in outcome.out
    assert "0-1: Black wins, resignation\n" in outcome.out
    assert "炮二平五" in Path("game.pgn").read_text("utf-8")
    assert "> " not in outcome.err


def test_only_moves(nlpx, monkeypatch):
    typed(monkeypatch, "h2e2\nback\n")
    outcome = nlpx("chess-lm", "play", "--model", "tiny", "--quiet")
    expected = nlpx("chess-lm", "best", "h2e2", "--model", "tiny", "--quiet").out
    assert outcome.out == expected
    typed(monkeypatch, "h9g7\n")
    rows = [
        json.loads(line)
        for line in nlpx("chess-lm", "play", "--model", "tiny", "--side", "black", "--json").out.splitlines()
    ]
    assert [row["by"] for row in rows] == ["model", "person", "model"]


def test_the_same_seed_plays_the_same_game(nlpx):
    words = ("chess-lm", "play", "--model", "tiny", "--side", "none", "--temperature", "1", "--quiet")
    games = [nlpx(*words, "--seed", seed).out for seed in "112"]
    assert games[0] == games[1] != games[2]
    assert games[0].splitlines()[-1] in ("1-0", "0-1", "1/2-1/2")


@pytest.mark.parametrize("pieces", ["unicode", "ascii"])
def test_other_pieces(nlpx, monkeypatch, pieces):
    typed(monkeypatch, "")
    board = nlpx("chess-lm", "play", "--model", "tiny", "--pieces", pieces).out
    assert len(board.splitlines()) == 12
    assert ("K" in board) == (pieces == "ascii")


# UCI, in a process of its own


def engine(*words: str, **choices: object) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "nlpx_cli", "chess-lm", "uci", "--model", "tiny", *words]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **choices)


def test_a_client_that_talks_waits_and_leaves():
    process = engine()
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(b"uci\nisready\n\xff\xfe rubbish\nposition startpos moves h2e2\ngo\n")
    process.stdin.flush()
    said = []
    while not said or not said[-1].startswith("bestmove"):  # answers come while the pipe is open
        said.append(process.stdout.readline().decode())
    assert "uciok\n" in said
    assert "readyok\n" in said
    process.stdin.close()  # the client leaves without a word
    assert process.wait() == 0
    assert process.stderr.read() == b""


def test_a_client_that_does_not_listen():
    process = engine()
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.write(b"uci\n" * 5000)
    process.stdin.close()
    assert process.wait() == 0
    assert process.stderr.read() == b""


def test_the_vocabulary_of_a_checkpoint_is_its_own(nlpx):
    xiangqi_games.save(xiangqi_games.model_of("characters", results=True), Path("other"))
    assert MoveModel.load("other").vocabulary == MoveVocabulary("characters", results=True)
    Path("other/xiangqi.json").write_text("{}")
    outcome = nlpx("chess-lm", "best", "", "--model", "other")
    assert outcome.code == 3
    assert "other/xiangqi.json: cannot be read" in outcome.err


@pytest.mark.parametrize("row", ["[1]", "5", "null", '{"moves": 1, "fen": [2]}', "[" * 20_000])
def test_rows_that_are_no_games_are_refused(nlpx, monkeypatch, row):
    typed(monkeypatch, f"{row}\n")
    outcome = nlpx("chess-lm", "best", "-", "--model", "tiny")
    assert outcome.code in (2, 3), outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("content", ["[" * 20_000, "[]", "{}", '{"tokens": "characters", "results": false}'])
def test_moves_that_are_not_the_models_are_refused(nlpx, content):
    """With another form of tokens the model would be asked for rows that it does not have."""
    Path("tiny/xiangqi.json").write_text(content, encoding="utf-8")
    outcome = nlpx("chess-lm", "best", "h2e2", "--model", "tiny")
    assert (outcome.code, outcome.out) == (3, "")
    assert "xiangqi.json" in outcome.err
