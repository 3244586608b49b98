"""What all commands that read or print have in common: UTF-8 in pipes, clean terminals, hints to be followed."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from nlpx_cli.hints import fitting, options_of
from nlpx_cli.terminal import CleanTerminal, clean


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# The pipe


@pytest.mark.parametrize("encoding", ["latin-1", "gbk", "ascii"])
def test_stdout_and_stdin_are_utf8_whatever_the_locale(nlpx_process, tmp_path, encoding):
    (tmp_path / "a.txt").write_text("今天😀很好\n", encoding="utf-8")
    environment = {"PYTHONIOENCODING": encoding}
    outcome = nlpx_process("wordfreq", "a.txt", environment=environment)
    assert (outcome.code, set(outcome.out.split())) == (0, {"今天", "😀", "很", "好", "1"})
    done = subprocess.run(
        [sys.executable, "-m", "nlpx_cli", "chess-lm", "best", "-", "--quiet"],
        input="炮二平五\n".encode(), capture_output=True, env=os.environ | environment, check=False,
    )  # fmt: skip
    assert (done.returncode, len(done.stdout.strip())) == (0, 4)


def test_a_process_substitution_is_read_whole(tmp_path):
    lines = "".join(f"第{number}行\t第{number + 1}行\n" for number in range(3))
    (tmp_path / "a.tsv").write_text(lines, encoding="utf-8")
    command = f"{sys.executable} -m nlpx_cli similar score <(cat a.tsv) --quiet"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=os.environ)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)


def test_an_empty_input_costs_no_earlier_counts(nlpx, monkeypatch):
    Path("counts.tsv").write_text("earlier\t1\n", encoding="utf-8")
    for content in ("", "\n \n"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        outcome = nlpx("wordfreq", "-", "-o", "counts.tsv")
        assert (outcome.code, outcome.out) == (3, "")
        assert "counts.tsv is not written" in outcome.err
    assert Path("counts.tsv").read_text(encoding="utf-8") == "earlier\t1\n"


# Control characters


def test_what_terminals_obey_is_shown_instead():
    assert clean("\x1b[31mred\x07\x9b\x7f\u202e\ttab\n") == "\\u001b[31mred\\u0007\\u009b\\u007f\\u202e\ttab\n"
    assert clean("春天😀 plain") == "春天😀 plain"
    raw = io.StringIO()
    terminal = CleanTerminal(raw)
    terminal.write("\x1b[2J")
    terminal.writelines(["a\r", "春\n"])
    assert raw.getvalue() == "\\u001b[2Ja\\u000d春\n"
    assert terminal.getvalue() == raw.getvalue()  # everything else is the stream's


@pytest.mark.parametrize(
    "words",
    [
        ("wordfreq", "a.jsonl"),
        ("embed", "a.jsonl", "-o", "e.npy"),
        ("vocab", "build", "a.jsonl"),
        ("similar", "score", "a.jsonl"),
        ("finetune", "--task", "classify", "--data", "a.jsonl", "--dry-run"),
        ("wordfreq", "b\x1b[31m.txt"),
    ],
    ids=lambda words: words[0],
)
def test_no_error_carries_control_characters(nlpx, words):
    Path("a.jsonl").write_text('{"\\u001b]0;title\\u0007key": 1, "label": "\\u009b"}\n', encoding="utf-8")
    outcome = nlpx(*words)
    assert outcome.code == 3
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", outcome.err)
    assert "\\u001b" in outcome.err


def test_errors_as_json_stay_json(nlpx):
    Path("a.jsonl").write_text('{"\\u009b": 1}\n', encoding="utf-8")
    outcome = nlpx("wordfreq", "a.jsonl", "--json")
    assert "\x9b" in json.loads(outcome.err)["hint"]
    assert "\x9b" not in outcome.err


# Hints


BAD = {
    "bad.tsv": "text1\ttext2\n春\n",
    "bad.csv": 'text,label\n"春,1\n夏,0\n',
    "bad.jsonl": '{"text": "春"}\n{oops\n',
    "bytes.txt": b"good\n\xff\xfe\xfd\n",
    "surrogate.jsonl": '{"text": "\\ud83d"}\n',
    "list.jsonl": '{"text": ["春"]}\n',
}
COMMANDS = {
    "similar score": (),
    "similar pairs": (),
    "evaluate sts": (),
    "evaluate mlm char-tiny": ("--pseudo-rows", "0"),
    "embed": ("-o", "o.npy"),
    "wordfreq": (),
    "vocab build": (),
    "pretrain --data": ("--dry-run",),
    "finetune --task classify --data": ("--dry-run",),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", BAD)
def test_a_hint_names_only_options_that_the_command_has(nlpx, command, name):
    content = BAD[name]
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    words = (*command.split(), name, *COMMANDS[command])
    outcome = nlpx(*words)
    if outcome.code == 0:
        return  # read as something that it may be
    assert outcome.code == 3, outcome.err
    assert not re.search(r"\b(\w+) \1\b", outcome.err), "no word twice"
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", outcome.err))
    assert named <= options_of(words)


def test_ways_out_that_a_command_lacks_are_left_out():
    hint = "correct the row; or leave such rows out with `--on-bad-row skip`"
    assert fitting(hint, {"--encoding"}) == "correct the row"
    assert fitting(hint, {"--on-bad-row"}) == hint
    assert fitting("or go on with `--errors replace`", ()) is None
    assert fitting("--model NAME\nsee: nlpx presets show x --origin", ()) == "see: nlpx presets show x --origin"


def test_options_are_those_of_the_leaf():
    assert "--field" in options_of(("similar", "score", "a.tsv", "--no-such"))
    assert "--data" in options_of(("finetune",))
    assert "--data" not in options_of(("wordfreq", "finetune"))


# Texts that are none


def test_a_language_model_is_judged_by_texts_only(nlpx):
    rows = [{"text": "春天来了，今天天气很好"}, {"text": None}, {"text": " "}]
    tiny.write_rows(Path("a.jsonl"), rows)
    outcome = nlpx("evaluate", "mlm", "char-tiny", "a.jsonl", "--pseudo-rows", "0", "--json")
    assert outcome.code == 0
    assert "2 rows have no text and are not scored" in outcome.err
    for value in (["a"], {"a": 1}, 5):
        tiny.write_rows(Path("a.jsonl"), [*rows, {"text": value}])
        outcome = nlpx("evaluate", "mlm", "char-tiny", "a.jsonl", "--pseudo-rows", "0")
        assert (outcome.code, outcome.out) == (3, "")
        assert "a.jsonl:4: field `text` is no text" in outcome.err


@pytest.mark.parametrize("header", ["text_a\ttext_b\tlabel", "query\ttitle\tlabel", "q1\tq2\tscore"])
def test_a_header_is_no_pair(nlpx, header):
    Path("a.tsv").write_text(f"{header}\n春\t夏\t0\n春\t春\t1\n秋\t冬\t0\n", encoding="utf-8")
    outcome = nlpx("similar", "score", "a.tsv", "--quiet")
    assert (outcome.code, len(outcome.out.splitlines())) == (0, 3)


def test_an_unknown_header_is_asked_about(nlpx):
    Path("a.tsv").write_text("甲方\t乙方\t标签\n春\t夏\t0\n春\t春\t1\n", encoding="utf-8")
    outcome = nlpx("similar", "score", "a.tsv", "--quiet")
    assert outcome.code == 3
    assert "`--field`, given twice" in outcome.err
    assert "甲方, 乙方, 标签" in outcome.err
    assert nlpx("similar", "score", "a.tsv", "--quiet", "--fields", "甲方", "乙方").code == 0


def test_counts_that_are_no_counts_are_refused(nlpx):
    Path("a.tsv").write_text("春\t" + "9" * 400 + "\n", encoding="utf-8")
    outcome = nlpx("wordfreq", "--merge", "a.tsv")
    assert (outcome.code, outcome.out) == (3, "")
    assert "a.tsv:1: not a count" in outcome.err


def test_games_that_are_no_games_are_named(nlpx, monkeypatch):
    deep = '{"moves": ' + "[" * 100_000 + "\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(deep.encode())))
    outcome = nlpx("chess-lm", "import", "-")
    assert outcome.code == 3
    assert "nested too deeply" in outcome.err


def test_a_pipe_is_not_read_twice_for_a_vocabulary(tmp_path):
    (tmp_path / "a.txt").write_text("今天天气很好\n" * 50, encoding="utf-8")
    command = f"{sys.executable} -m nlpx_cli pretrain --data <(cat a.txt) --model new --dry-run"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 2
    assert "can be read only once" in done.stderr
