"""`nlpx chess-lm import` and `stats` from the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import xiangqi_samples as samples

BAD = '[Red "甲"]\n\n1. 炮二平五 马8进7 2. 车一进一 车9平7\n'


@pytest.fixture(autouse=True)
def _in_a_folder_with_games(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    samples.write(tmp_path)


def lines(path: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_import_writes_checked_games(nlpx):
    outcome = nlpx("chess-lm", "import", "games.pgn", "-o", "out.jsonl")
    assert (outcome.code, outcome.out) == (0, "out.jsonl\n")
    assert "6 games with 45 plies" in outcome.err
    assert lines("out.jsonl") == lines("games.jsonl")
    assert lines("out.jsonl")[0] == {"moves": samples.MOVES[0], "result": "1-0", "red": "红方1", "black": "黑方1"}


def test_import_says_what_it_did_as_json(nlpx):
    Path("bad.pgn").write_text(BAD, encoding="utf-8")
    outcome = nlpx("chess-lm", "import", "*.pgn", "games.jsonl", "-o", "out.jsonl", "--json")
    facts = json.loads(outcome.out)
    assert facts == {
        "path": "out.jsonl",
        "files": 3,
        "games": 6,
        "plies": 45,
        "results": {"1-0": 2, "0-1": 2, "1/2-1/2": 1, "*": 1},
        "duplicates": 6,
        "short": 0,
        "rejected": 1,
    }
    warning = json.loads(outcome.err)["warning"]
    assert warning.startswith("bad.pgn: game 1 (line 1), ply 4: `车9平7` is illegal: g9 holds Black's elephant")


def test_import_is_a_part_of_pipelines(nlpx, monkeypatch):
    text = io.TextIOWrapper(io.BytesIO("炮二平五 马8进7\n相三进五\n".encode("gb18030")))
    monkeypatch.setattr(sys, "stdin", text)
    outcome = nlpx("chess-lm", "import", "-", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert [json.loads(line)["moves"] for line in outcome.out.splitlines()] == ["h2e2 h9g7", "g0e2"]


def test_import_of_a_folder(nlpx):
    Path("games/deep").mkdir(parents=True)
    Path("games/deep/a.txt").write_text("h2e2\n", encoding="utf-8")
    Path("games/b.dhtmlxq").write_text("[DhtmlXQ_movelist]7747[/DhtmlXQ_movelist]", encoding="utf-8")
    Path("games/notes.md").write_text("h2e2\n", encoding="utf-8")
    assert json.loads(nlpx("chess-lm", "import", "games", "-o", "out.jsonl", "--json").out)["files"] == 2
    outcome = nlpx("chess-lm", "import", "games", "--keep-duplicates", "--quiet")
    assert len(outcome.out.splitlines()) == 2


def test_short_games_and_a_table_of_rejects(nlpx):
    Path("bad.pgn").write_text(BAD, encoding="utf-8")
    outcome = nlpx(
        *("chess-lm", "import", "games.pgn", "bad.pgn", "-o", "out.jsonl"),
        *("--min-plies", "8", "--rejects", "rejects.tsv"),
    )
    assert "3 games with 28 plies, 3 too short, 1 rejected" in outcome.err
    head, row = Path("rejects.tsv").read_text(encoding="utf-8").splitlines()
    assert head.split("\t") == ["file", "game", "line", "ply", "reason"]
    assert row.split("\t")[:4] == ["bad.pgn", "1", "1", "4"]


def test_strict_ends_with_the_first_bad_game_and_writes_nothing(nlpx):
    Path("bad.pgn").write_text(BAD, encoding="utf-8")
    outcome = nlpx("chess-lm", "import", "games.pgn", "bad.pgn", "-o", "out.jsonl", "--strict")
    assert outcome.code == 3
    assert "Error: bad.pgn: game 1 (line 1), ply 4" in outcome.err
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("import", "game.pgn"), 3, "game.pgn: no such file"),
        (("import", "*.xqf"), 3, "*.xqf: no games there"),
        (("import", "games.pgn", "--encoding", "klingon"), 2, "unknown encoding `klingon`"),
        (("import", "bad.pgn", "-o", "out.jsonl"), 3, "no game could be taken from 1 file"),
        (("stats", "bad.pgn"), 3, "no game in bad.pgn"),
        (("stats", "empty.pgn"), 3, "no game in empty.pgn"),
        (("imprt", "games.pgn"), 2, "No such command"),
    ],
)
def test_what_is_wrong_is_said(nlpx, words, code, said):
    Path("bad.pgn").write_text(BAD, encoding="utf-8")
    Path("empty.pgn").write_text("", encoding="utf-8")
    outcome = nlpx("chess-lm", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("out.jsonl").exists()


def test_a_pgn_in_another_encoding_than_told(nlpx):
    Path("gb.pgn").write_bytes(samples.pgn().encode("gb18030"))
    told = nlpx("chess-lm", "import", "gb.pgn", "-o", "out.jsonl", "--encoding", "utf-8")
    assert told.code == 3
    assert "another --encoding?" in told.err
    assert nlpx("chess-lm", "import", "gb.pgn", "-o", "out.jsonl").code == 0
    assert lines("out.jsonl") == lines("games.jsonl")


def test_a_reader_that_leaves_early():
    Path("many.txt").write_text("h2e2 h9g7 h0g2\n" * 3000, encoding="utf-8")
    command = f"{sys.executable} -m nlpx_cli chess-lm import many.txt --keep-duplicates --quiet | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)


def test_stats(nlpx):
    outcome = nlpx("chess-lm", "stats", "games.jsonl", "--depth", "2", "--min-games", "2")
    assert outcome.code == 0
    assert [line.split() for line in outcome.out.splitlines()] == [
        ["opening", "move", "games", "fraction", "red", "score"],
        ["炮二平五", "h2e2", "3", "50.0%", "50.0%"],
        ["马8进7", "h9g7", "2", "66.7%", "75.0%"],
    ]
    assert outcome.out.splitlines()[2].startswith("  马8进7")
    assert "6 games: 1-0 2 (33.3%), 0-1 2 (33.3%), 1/2-1/2 1 (16.7%), * 1 (16.7%)" in outcome.err
    assert "plies: 5 to 10, median 7, mean 7.5" in outcome.err


def test_stats_as_json_and_quiet(nlpx):
    facts = json.loads(nlpx("chess-lm", "stats", "games.pgn", "--json", "--merge-mirrored", "--depth", "1").out)
    assert (facts["games"], facts["plies"]["max"], facts["red_score"]) == (6, 10, 0.5)
    assert facts["openings"][0] | {"fraction": 0} == {
        "ply": 1,
        "move": "h2e2",
        "chinese": "炮二平五",
        "line": "h2e2",
        "games": 4,
        "fraction": 0,
        "red_score": 0.625,
    }
    assert nlpx("chess-lm", "stats", "games.pgn", "--quiet") == (0, "6\n", "")


def test_stats_draws(nlpx):
    pytest.importorskip("matplotlib")
    outcome = nlpx("chess-lm", "stats", "games.pgn", "--plot", "tree.png", "--quiet")
    assert outcome.code == 0
    assert Path("tree.png").read_bytes().startswith(b"\x89PNG")


def test_stats_of_positions_only(nlpx):
    Path("mate.pgn").write_text('[FEN "4k4/9/9/9/9/9/9/9/R8/1R1K5 w"]\n\n1. a1a8\n', encoding="utf-8")
    outcome = nlpx("chess-lm", "stats", "mate.pgn", "--plot", "tree.png")
    assert (outcome.code, outcome.out) == (0, "")
    assert "no opening to draw" in outcome.err
    assert not Path("tree.png").exists()
