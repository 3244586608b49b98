"""`nlpx help` and `nlpx samples`: what ships for people who have nothing else."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

import documents
from documents import ROOT

PAGES = [path for path in (ROOT / "docs").rglob("*.md") if "zh" not in path.parts]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_page_is_a_topic(nlpx):
    code, out, err = nlpx("help", "--json")
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert sorted(row["topic"] for row in rows) == sorted(path.stem for path in PAGES)
    assert all(row["about"] and not set("[`#") & set(row["about"]) for row in rows)
    assert {row["topic"] for row in rows if row["chinese"]} == {"start", "data", "errors", "finetune"}
    assert nlpx("help", "--quiet").out.split() == [row["topic"] for row in rows]


def test_a_page_is_printed_as_it_is_written(nlpx):
    for path in PAGES:
        assert nlpx("help", path.stem) == (0, path.read_text(encoding="utf-8"), "")
    assert nlpx("help", "data", "--zh").out.startswith("# 数据格式\n")
    found = json.loads(nlpx("help", "data", "--chinese", "--json").out)
    assert found["topic"] == "data"
    assert found["text"].startswith("# 数据格式\n")


def test_on_a_terminal_it_is_set(nlpx, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = nlpx("help", "errors").out
    assert "Exit codes and errors" in out
    assert "| --- |" not in out


def test_topics_that_are_not_there(nlpx):
    code, out, err = nlpx("help", "whitn")
    assert (code, out) == (2, "")
    assert err.startswith("Error: unknown topic `whitn`\n  did you mean `whiten`?\n")
    assert nlpx("help", "whiten", "--zh") == (
        2,
        "",
        "Error: `whiten` is in English only\n  in Chinese: data, errors, finetune, start\n",
    )


def test_what_help_texts_point_to_is_a_topic():
    from nlpx.jobs.help import topics

    known = {topic.topic for topic in topics()}
    for words, command in documents.commands().items():
        text = command.help or ""
        assert "docs/" not in text, words
        named = [line.partition("`nlpx help ")[2].partition("`")[0] for line in text.splitlines()]
        assert {name for name in named if name} <= known, words


def test_samples_are_written_once(nlpx):
    code, out, err = nlpx("samples", "tryout", "--quiet")
    assert (code, out, err) == (0, "tryout\n", "")
    before = {path: path.read_bytes() for path in Path("tryout").rglob("*") if path.is_file()}
    assert (
        nlpx("samples", "tryout").err
        == "Error: tryout/corpus.txt exists already\n  name another folder, or give --overwrite\n"
    )
    Path("tryout/corpus.txt").write_text("mine")
    code, out, _ = nlpx("samples", "tryout", "--overwrite", "--json")
    assert code == 0
    assert {path: path.read_bytes() for path in before} == before
    found = json.loads(out)
    assert found["folder"] == "tryout"
    assert {f"tryout/{file['file']}" for file in found["files"]} == {path.as_posix() for path in before}
    Path("file").touch()
    assert nlpx("samples", "file") == (2, "", "Error: file is a file\n  name a folder\n")


def test_samples_are_what_they_are_said_to_be(nlpx):
    assert nlpx("samples").code == 0
    folder = Path("samples")
    texts = (folder / "corpus.txt").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    assert texts == [row["text"] for row in rows]
    assert len(set(texts)) == 150
    assert {row["domain"] for row in rows} == {"新闻", "评论", "问答", "生活"}
    parts = {}
    for split in ("train", "dev", "test"):
        with (folder / "topics" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            parts[split] = list(csv.DictReader(file))
    labels = {split: sorted({row["label"] for row in part}) for split, part in parts.items()}
    assert labels["train"] == labels["dev"] == labels["test"]
    assert len(labels["train"]) == 6
    assert len({row["text"] for part in parts.values() for row in part}) == sum(map(len, parts.values())) == 300
    assert nlpx("chess-lm", "import", "samples/games.pgn", "-o", "games.jsonl", "--quiet").code == 0
    games = Path("games.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(games) == (folder / "games.pgn").read_text(encoding="utf-8").count("[Game ") == 39
