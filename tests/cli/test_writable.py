"""Whether an output can be written is known before the work: here no work can be done, and the path is what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

# No model of that name: whoever loads it first would say so.
COMMANDS = [
    "sample --model nowhere --plot {}",
    "chess-lm play --model nowhere --save {}",
    "chess-lm import nowhere.pgn --rejects {}",
    "chess-lm import nowhere.pgn -o {}",
    "chess-lm stats nowhere.pgn --plot {}",
    "evaluate sts nowhere.tsv --plot {}",
    "whiten nowhere.npy --save {}",
    "whiten nowhere.npy --plot {}",
    "whiten nowhere.npy -o {}",
    "embed nowhere.txt -o {}",
    "convert nowhere {}",
    "samples {}",
    "vocab build nowhere.txt -o {}",
    "wordfreq nowhere.txt -o {}",
    "wordfreq nowhere.txt --plot {}",
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("", encoding="utf-8")
    Path("folder").mkdir()


@pytest.mark.parametrize("words", COMMANDS)
def test_a_place_that_cannot_be_written_is_refused_first(nlpx, words):
    outcome = nlpx(*words.format("file/below/out.png").split())
    assert (outcome.code, "file is a file, not a folder" in outcome.err) == (3, True), outcome.err


@pytest.mark.parametrize("words", [words for words in COMMANDS if "--" in words])
def test_a_folder_is_no_file(nlpx, words):
    outcome = nlpx(*words.format("folder").split())
    assert (outcome.code, "folder is a folder" in outcome.err) == (2, True), outcome.err
