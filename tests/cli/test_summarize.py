"""`nlpx summarize` from the shell's side: documents in and summaries out in order, marks, and mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import tiny

TEXTS = [
    "春天来了，公园里的花开了。市民来到公园看花。天气预报说有雨。公园里的花有三千株，市民说好看。",
    "",
    "只有一句",
    "没有标点" * 500,
]


@pytest.fixture(autouse=True)
def _in_a_folder_with_documents(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.write_rows(Path("texts.txt"), TEXTS)
    tiny.write_rows(Path("rows.jsonl"), [{"id": number, "body": text} for number, text in enumerate(TEXTS)])
    tiny.write_rows(Path("rows.csv"), ["id,body", *(f"{number},{text}" for number, text in enumerate(TEXTS))])
    parts = [{"sentence": part, "label": 0} for part in ("原告起诉。", "被告未到庭。")]
    tiny.write_rows(Path("judgments.jsonl"), [{"text": parts, "summary": "原告起诉"}])


def _json(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("method", ["textrank", "lead"])
def test_one_line_a_document_in_order(nlpx, method):
    outcome = nlpx("summarize", "texts.txt", "--method", method, "--sentences", "1")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.split("\n")
    assert len(lines) == len(TEXTS) + 1
    assert all(line in text for line, text in zip(lines, TEXTS, strict=False))
    assert [bool(line) for line in lines] == [True, False, True, True, False]
    assert "1 of 4 documents have no text, and an empty summary" in outcome.err
    assert "1 of 4 documents are their own summary: they are that short" in outcome.err


@pytest.mark.parametrize("file", ["rows.jsonl", "rows.csv"])
def test_rows_come_back_with_summary_and_places(nlpx, file):
    plain = nlpx("summarize", "texts.txt", "--sentences", "2").out.splitlines()
    outcome = nlpx("summarize", "write", file, "--field", "body", "--sentences", "2", "--json")
    assert outcome.code == 0, outcome.err
    found = _json(outcome.out)
    assert [row["generated"] for row in found] == plain
    assert [str(row["id"]) for row in found] == ["0", "1", "2", "3"]
    for row, text in zip(found, TEXTS, strict=True):
        assert all(text[one["start"] : one["end"]] == one["text"] for one in row["sentences"])
        assert [one["start"] for one in row["sentences"]] == sorted(one["start"] for one in row["sentences"])


def test_a_text_in_parts_is_joined(nlpx):
    [row] = _json(nlpx("summarize", "judgments.jsonl", "--method", "lead", "--json").out)
    assert row["text"] == "原告起诉。\n被告未到庭。"
    assert row["generated"] == "原告起诉。被告未到庭。"
    assert [row["text"][one["start"] : one["end"]] for one in row["sentences"]] == ["原告起诉。", "被告未到庭。"]


def test_characters_limit_a_summary(nlpx):
    outcome = nlpx("summarize", "texts.txt", "--characters", "9")
    assert all(len(line) <= 9 for line in outcome.out.splitlines())


def test_stdin_is_answered_line_by_line():
    command = [sys.executable, "-m", "nlpx_cli", "summarize", "-", "--sentences", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in TEXTS[::2]:
            process.stdin.write(f"{text}\n")
            process.stdin.flush()
            assert process.stdout.readline().strip() in text
        process.stdin.close()
        assert process.wait() == 0


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    tiny.write_rows(tmp_path / "many.txt", TEXTS[:1] * 20_000)
    line = f"set -o pipefail; {sys.executable} -m nlpx_cli summarize many.txt | head -1"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_what_was_taken_is_marked(nlpx):
    outcome = nlpx("summarize", "texts.txt", "--method", "lead", "--sentences", "1", "--highlight")
    assert outcome.out.startswith("【春天来了，公园里的花开了。】市民来到公园看花。")
    assert "\n\n【只有一句】\n\n" in outcome.out


class _Marked(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.marks, self.is_inside = [], False

    def handle_starttag(self, tag, attrs):
        self.is_inside = tag == "mark"

    def handle_endtag(self, tag):
        self.is_inside = False

    def handle_data(self, data):
        self.marks += [data] if self.is_inside else []


def test_a_page_shows_the_documents(nlpx):
    tiny.write_rows(Path("odd.txt"), ["<b>春</b>风 & 雨。夏天。"])
    assert nlpx("summarize", "odd.txt", "--method", "lead", "--sentences", "1", "--html", "page.html").code == 0
    parser = _Marked()
    parser.feed(Path("page.html").read_text(encoding="utf-8"))
    assert "".join(parser.marks) == "<b>春</b>风 & 雨。"


def test_gb18030_is_named_and_read(nlpx):
    Path("old.txt").write_bytes(TEXTS[0].encode("gb18030"))
    refused = nlpx("summarize", "old.txt")
    assert refused.code == 3
    assert "try `--encoding gb18030`" in refused.err
    read = nlpx("summarize", "old.txt", "--encoding", "gb18030").out
    assert read.splitlines() == nlpx("summarize", "texts.txt").out.splitlines()[:1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("rows.jsonl",), 3, "rows.jsonl:1: has no field `text`"),
        (("rows.jsonl", "--field", "id"), 3, "rows.jsonl:1: field `id` is no text"),
        (("nowhere.txt",), 3, "nowhere.txt"),
        (("texts.txt", "--sentences", "1", "--characters", "9"), 2, "both say how long a summary is"),
        (("texts.txt", "--html", "."), 2, "is a folder"),
        (("texts.txt", "--method", "best"), 2, "textrank"),
    ],
)
def test_mistakes_get_one_sentence(nlpx, words, code, said):
    outcome = nlpx("summarize", *words)
    assert outcome.code == code
    assert said in outcome.err
    assert outcome.out == ""


def test_the_group_has_help(nlpx):
    for words in (("summarize", "--help"), ("summarize", "write", "--help")):
        assert nlpx(*words).code == 0
