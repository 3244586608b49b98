"""`nlpx generate` from the shell's side: rows in and out in order, constraints, and one sentence for each mistake."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tiny
from nlpx import load_model
from nlpx.tokenizers.load import load_tokenizer

TEXTS = ["春天夏天", "", "风雨雷电山川", "鱼鸟虫兽东南西北"]
SHORT = ("--max-new-tokens", "5")


@pytest.fixture(autouse=True)
def _in_a_folder_with_models(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    tiny.bert(Path("answers"))
    tiny.checkpoint(Path("continues"), "BertConfig", "BertLMHeadModel", is_decoder=True)
    tiny.write_rows(Path("lines.txt"), TEXTS)
    rows = [{"id": number, "body": text} for number, text in enumerate(TEXTS)]
    tiny.write_rows(Path("rows.jsonl"), rows)
    tiny.write_rows(Path("rows.csv"), ["id,body", *(f"{row['id']},{row['body']}" for row in rows)])


def _json(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_line_a_text_and_the_arrangement_on_stderr(nlpx):
    outcome = nlpx("generate", "answers", "lines.txt", *SHORT)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.split("\n")
    assert len(lines) == len(TEXTS) + 1
    assert [bool(line) for line in lines] == [True, False, True, True, False]
    assert "answers its source: the model reads both ways" in outcome.err
    assert "1 of 4 texts without text, answered by nothing" in outcome.err


def test_a_causal_model_continues(nlpx):
    outcome = nlpx("generate", "continues", "--prompt", "春天", *SHORT)
    assert outcome.code == 0, outcome.err
    assert "continues its prompt" in outcome.err
    assert nlpx("generate", "continues", "--prompt", "", *SHORT).code == 0


def test_the_first_token_is_the_models_first_choice(nlpx):
    model, tokenizer = load_model("answers", head="mlm"), load_tokenizer("answers")
    encoded = tokenizer.encode(TEXTS[2])
    with torch.no_grad():
        logits = model(torch.tensor([encoded.token_ids])).logits[0, -1]
    logits[torch.tensor([0, 1, 2, 4])] = -torch.inf  # [PAD], [UNK], [CLS], [MASK]
    found = nlpx("generate", "answers", "--prompt", TEXTS[2], "--explain", "--json", *SHORT, "--precision", "float32")
    [token, *_] = _json(found.out)[0]["hypotheses"][0]["tokens"]
    best = int(logits.argmax())
    assert token["token"] == ("<end>" if best == tokenizer.sep_token_id else tokenizer.vocab.tokens[best])


@pytest.mark.parametrize("file", ["rows.jsonl", "rows.csv"])
def test_rows_come_back_with_what_was_generated(nlpx, file):
    outcome = nlpx("generate", "answers", file, "--field", "body", "--json", *SHORT)
    assert outcome.code == 0, outcome.err
    found = _json(outcome.out)
    assert [str(row["id"]) for row in found] == ["0", "1", "2", "3"]
    assert [list(row) for row in found] == [["id", "body", "generated", "score"]] * 4
    assert (found[1]["generated"], found[1]["score"]) == ("", None)


@pytest.mark.parametrize("how", [(), ("--beams", "3"), ("--top-p", "0.9")])
def test_batches_do_not_change_the_answers(nlpx, how):
    found = [
        nlpx("generate", "answers", "lines.txt", "--batch-size", size, *how, *SHORT, "--precision", "float32").out
        for size in ("1", "3")
    ]
    assert found[0] == found[1]
    assert found[0].strip()


def test_the_best_answers_with_scores(nlpx):
    outcome = nlpx("generate", "answers", "lines.txt", "--beams", "3", "--n-best", "3", *SHORT)
    assert outcome.code == 0, outcome.err
    cells = [line.split("\t") for line in outcome.out.splitlines()]
    assert [row[0] for row in cells] == ["1"] * 3 + ["3"] * 3 + ["4"] * 3
    scores = [float(row[1]) for row in cells[:3]]
    assert scores == sorted(scores, reverse=True)


def test_a_seed_decides_what_is_drawn(nlpx):
    words = ("generate", "answers", "lines.txt", "--temperature", "1.5", *SHORT)
    first, again, other = (nlpx(*words, "--seed", seed).out for seed in ("1", "1", "2"))
    assert first == again != other


def test_constraints(nlpx):
    Path("allowed.txt").write_text("春\n夏\n秋\n", encoding="utf-8")
    allowed = nlpx("generate", "answers", "lines.txt", "--allowed", "allowed.txt", "--min-new-tokens", "3", *SHORT)
    assert allowed.code == 0, allowed.err
    assert set(allowed.out) == set("春夏秋\n") & set(allowed.out)
    assert len(allowed.out) >= 3 * 3
    copied = nlpx("generate", "answers", "lines.txt", "--copy-source", "--min-new-tokens", "3", *SHORT)
    for text, line in zip(TEXTS, copied.out.split("\n"), strict=False):
        assert set(line) <= set(text)
    forced = nlpx("generate", "answers", "lines.txt", "--prefix", "日月", *SHORT)
    assert [line[:2] for line in forced.out.splitlines()] == ["日月", "", "日月", "日月"]


def test_long_texts_are_cut_only_if_asked(nlpx):
    tiny.write_rows(Path("long.txt"), ["春" * 30])
    refused = nlpx("generate", "answers", "long.txt", *SHORT)
    assert refused.code == 3
    assert "long.txt:1: 30 tokens, and the model has positions for 21 beside an answer" in refused.err
    cut = nlpx("generate", "answers", "long.txt", "--max-length", "9", *SHORT)
    assert cut.code == 0, cut.err
    assert "1 of 1 texts cut to 9 tokens, --max-length" in cut.err


def test_int8_gives_the_same_tokens(nlpx):
    words = ("generate", "char-tiny", "--prompt", "今天天气很好", *SHORT, "--precision")
    assert nlpx(*words, "int8").out == nlpx(*words, "float32").out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--min-new-tokens", "9", "--max-new-tokens", "8"), 2, "--min-new-tokens 9 is above --max-new-tokens 8"),
        (("--temperature", "-1"), 2, "--temperature -1.0 should be greater than or equal to 0"),
        (("--top-p", "0"), 2, "--top-p 0.0 should be greater than 0"),
        (("--top-p", "1.5"), 2, "--top-p 1.5 should be less than or equal to 1"),
        (("--beams", "2", "--n-best", "3"), 2, "--n-best 3 is above --beams 2"),
        (("--n-best", "3"), 2, "--n-best 3 needs as many answers to choose from"),
        (("--beams", "2", "--top-k", "3"), 2, "--temperature above 0 draws tokens, --beams searches"),
        (("--temperature", "0", "--top-k", "3"), 2, "--top-k narrows what is drawn, and --temperature 0 draws nothing"),
        (("--prefix", "日月日月日月",), 2, "--prefix has 6 tokens, and --max-new-tokens 5 leaves none behind it"),
        (("--prefix", "天"), 3, "--prefix: `天` is not in the vocabulary of the model"),
        (("--allowed", "none.txt"), 3, "none.txt: no character and no word, so nothing could be written"),
        (("--allowed", "unknown.txt"), 3, "unknown.txt:2: `天` is not in the vocabulary"),
        (("--allowed", "one.txt", "--prefix", "夏"), 3, "no token is allowed after 0 tokens of the answer"),
        (("--field", "title", "--input-format", "jsonl"), 3, "has no field `title`"),
        (("--prompt", "春"), 2, "--prompt and rows.jsonl both say what to read"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(nlpx, words, code, message):
    Path("none.txt").write_text("\n")
    Path("one.txt").write_text("春\n", encoding="utf-8")
    Path("unknown.txt").write_text("春\n天\n", encoding="utf-8")
    given = words if "--max-new-tokens" in words else (*words, *SHORT)
    field = () if "--field" in words else ("--field", "body")
    outcome = nlpx("generate", "answers", "rows.jsonl", *field, *given)
    assert outcome.code == code, outcome.err
    assert message in outcome.err
    assert outcome.out == ""


def test_a_model_without_a_head_names_the_command_that_makes_one(nlpx):
    tiny.bert(Path("headless"), "BertModel")
    outcome = nlpx("generate", "headless", "lines.txt")
    assert outcome.code == 3
    assert "headless: the model has no language-model head to generate with" in outcome.err
    assert "nlpx pretrain --model headless --objective unilm" in outcome.err


def test_a_terminal_in_place_of_texts_is_refused(nlpx, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    outcome = nlpx("generate", "answers")
    assert outcome.code == 2
    assert "no text: stdin is a terminal" in outcome.err


def test_lines_from_a_pipe(nlpx, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("春天\n夏天\n".encode())))
    outcome = nlpx("generate", "answers", "-", "--quiet", *SHORT)
    assert outcome.code == 0, outcome.err
    assert len(outcome.out.splitlines()) == 2
    assert outcome.err == ""


def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-m", "nlpx_cli", "generate", "answers", "many.txt", "--max-new-tokens", "2"]
    tiny.write_rows(Path("many.txt"), ["春夏秋冬"] * 300)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert (process.returncode, "Error" in errors) == (0, False)


def test_a_run_of_another_task_is_refused(nlpx):
    data = tiny.write_rows(Path("labelled.jsonl"), tiny.labelled(12))
    trained = nlpx("finetune", "--task", "classify", "--data", str(data), "--model", "answers", "--steps", "1",
                   *tiny.settings("data.max_length=16"), "--out", "run")  # fmt: skip
    assert trained.code == 0, trained.err
    outcome = nlpx("generate", "run", "lines.txt")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-2:] == [
        "Error: run/checkpoints/best was trained for the task classify", "  `nlpx predict` asks it"]  # fmt: skip
    assert nlpx("generate", "run", "lines.txt", "--task", "qa").code == 2


@pytest.fixture
def gpt2() -> str:
    """A small GPT-2 over the vocabulary of `answers`."""
    tiny.checkpoint(Path("gpt2"), "GPT2Config", "GPT2LMHeadModel", n_embd=32, n_layer=2, n_head=2, n_positions=40,
                    eos_token_id=3, bos_token_id=2)  # fmt: skip
    return "gpt2"


def test_ctranslate2_runs_what_was_converted_for_it(nlpx, gpt2):
    pytest.importorskip("ctranslate2")
    for dtype in ("float32", "int8"):
        outcome = nlpx("convert", gpt2, f"ct-{dtype}", "--to", "ctranslate2", "--dtype", dtype)
        assert outcome.code == 0, outcome.err
        for how in ((), ("--beams", "3")):
            ours = nlpx("generate", gpt2, "lines.txt", *SHORT, *how)
            theirs = nlpx("generate", f"ct-{dtype}", "lines.txt", *SHORT, *how)
            assert theirs.code == 0, theirs.err
            assert "continues its prompt (causal), by CTranslate2; the format of its file" in theirs.err
            assert theirs.out == ours.out or dtype == "int8"
            assert theirs.out.count("\n") == len(TEXTS)
    drawn = [nlpx("generate", "ct-float32", "lines.txt", *SHORT, "--temperature", "1", "--seed", seed).out
             for seed in ("1", "1", "2")]  # fmt: skip
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_ctranslate2_cannot_is_refused(nlpx, gpt2):
    pytest.importorskip("ctranslate2")
    outcome = nlpx("convert", "answers", "ct", "--to", "ctranslate2")
    assert (outcome.code, outcome.out) == (3, "")
    assert "no part of CTranslate2 is" in outcome.err
    assert not Path("ct").exists()
    assert nlpx("convert", gpt2, "ct", "--to", "ctranslate2").code == 0
    for options, said in (
        (("--copy-source",), "--copy-source is no option of CTranslate2's search"),
        (("--explain",), "--explain is no option of CTranslate2's search"),
        (("--precision", "int8"), "--precision int8: CTranslate2 computes in what its file holds"),
        (("--engine", "nlpx"), "ct was written for CTranslate2"),
        (("--typical", "0.5"), "typical tokens are not drawn by CTranslate2"),
    ):
        outcome = nlpx("generate", "ct", "lines.txt", *SHORT, *options)
        assert outcome.code == 2, outcome.err
        assert said in outcome.err
    outcome = nlpx("generate", gpt2, "lines.txt", "--engine", "ctranslate2")
    assert outcome.code == 3
    assert "nlpx convert gpt2 DST --to ctranslate2" in outcome.err
