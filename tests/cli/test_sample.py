"""`nlpx sample`: what is printed, what stays, pipes, diagnostics, and a sentence for every bad input."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny

LINES = ["春夏秋冬", "", "Wind 山川龘湖海", "日月[MASK]星云", "花草树木"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    tiny.bert(Path("bert"), vocab_size=len(tiny.VOCAB) + 1, vocab=[*tiny.VOCAB, "##a"])


def rows(nlpx, *words):
    outcome = nlpx("sample", "--model", "bert", *words, "--json")
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_samples_from_nothing(nlpx):
    found = rows(nlpx, "--steps", "40", "--length", "4:9", "--chains", "5")
    assert {row["chain"] for row in found} == set(range(5))
    assert {row["step"] for row in found} == {30, 40}
    assert [row["step"] for row in found] == sorted(row["step"] for row in found)
    for row in found:
        assert set(row) == {"text", "chain", "step", "changed", "pseudo_energy"}
        assert 4 <= len(row["text"]) <= 9
        assert "[" not in row["text"]
        assert row["pseudo_energy"] > 0
    lengths = {chain: {len(row["text"]) for row in found if row["chain"] == chain} for chain in range(5)}
    assert all(len(seen) == 1 for seen in lengths.values())
    assert len(set.union(*lengths.values())) > 1


def test_changed_places_and_energy_are_those_of_the_texts(nlpx):
    from nlpx import load_model, load_tokenizer

    model, tokenizer = load_model("bert", head="mlm"), load_tokenizer("bert")
    found = rows(nlpx, "--steps", "40", "--length", "6", "--chains", "1", "--precision", "float32", "--thin", "3")
    before = "[MASK]" * 6
    for row in found:
        token_ids = tokenizer.encode(row["text"]).token_ids
        energy = 0.0
        for place in range(1, 7):
            hidden = torch.tensor([token_ids])
            hidden[0, place] = tokenizer.mask_token_id
            with torch.no_grad():
                energy -= float(model(hidden).logits[0, place].log_softmax(dim=-1)[token_ids[place]])
        assert row["pseudo_energy"] == pytest.approx(energy, rel=1e-4)
        if row is not found[0]:
            assert row["changed"] == [n for n in range(6) if before[n] != row["text"][n]]
        before = row["text"]


def test_both_names_and_the_same_seed(nlpx):
    words = ("--model", "bert", "--steps", "30", "--length", "6", "--chains", "3")
    first = nlpx("sample", *words)
    assert first.code == 0
    assert len(first.out.splitlines()) == 6
    assert nlpx("sample-gibbs", *words) == first
    assert nlpx("sample", *words, "--quiet").out == first.out
    assert nlpx("sample", *words, "--seed", "8").out != first.out
    printed = [row["text"] for row in rows(nlpx, *words[2:])]
    assert printed == first.out.splitlines()


def test_burn_in_and_thinning(nlpx):
    found = rows(nlpx, "--steps", "21", "--length", "5", "--chains", "2", "--burn-in", "6", "--thin", "5")
    assert [row["step"] for row in found if row["chain"] == 1] == [11, 16, 21]
    annealed = rows(nlpx, "--steps", "40", "--length", "5", "--chains", "3", "--anneal")
    assert [(row["chain"], row["step"]) for row in annealed] == [(0, 40), (1, 40), (2, 40)]


def test_annealing_ends_where_every_token_is_the_most_probable_one(nlpx):
    from nlpx import load_model, load_tokenizer

    model, tokenizer = load_model("bert", head="mlm"), load_tokenizer("bert")
    words = ("--steps", "200", "--length", "5", "--chains", "4", "--anneal", "--precision", "float32")
    for row in rows(nlpx, *words):
        token_ids = tokenizer.encode(row["text"]).token_ids
        for place in range(1, 6):
            hidden = torch.tensor([token_ids])
            hidden[0, place] = tokenizer.mask_token_id
            with torch.no_grad():
                logits = model(hidden).logits[0, place]
            logits[:5] = logits[-1] = -torch.inf  # what is never drawn
            assert int(logits.argmax()) == token_ids[place]


def test_gaps_are_filled_and_the_rest_stays(nlpx):
    for row in rows(nlpx, "--from", "Wind 春[MASK]秋[MASK]！", "--steps", "20", "--chains", "3"):
        assert row["text"].startswith("Wind 春")
        assert row["text"].endswith("！")
        assert len(row["text"]) == 10
        assert "[" not in row["text"]
        assert set(row["changed"]) <= {2, 4}


def test_spans_are_held(nlpx):
    found = rows(nlpx, "--from", "春夏秋冬风雨", "--keep", "0:2", "--keep", "5:", "--temperature", "5")
    assert {(row["text"][:2], row["text"][5:], len(row["text"])) for row in found} == {("春夏", "雨", 6)}
    assert len({row["text"][2:5] for row in found}) > 3


def test_lines_come_back_in_order(nlpx, monkeypatch):
    Path("lines.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    words = ("--model", "bert", "--steps", "3")
    outcome = nlpx("sample", *words, "--rewrite", "lines.txt")
    assert outcome.code == 0, outcome.err
    written = outcome.out.split("\n")
    assert len(written) == len(LINES) + 1
    assert written[1] == ""
    assert written[3].startswith("日月")
    assert written[3].endswith("星云")
    assert len(written[0]) == len(written[4]) == 4
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("lines.txt").read_bytes())))
    assert nlpx("sample", *words, "--rewrite", "-").out == outcome.out
    Path("one.txt").write_text("\n\n\n\n花草树木\n", encoding="utf-8")  # the same line, alone
    assert nlpx("sample", *words, "--rewrite", "one.txt").out == f"\n\n\n\n{written[4]}\n"
    found = rows(nlpx, "--steps", "3", "--rewrite", "lines.txt")
    assert [row["text"] for row in found] == written[:-1]
    assert [row["chain"] for row in found] == list(range(len(LINES)))


def test_many_lines_of_many_lengths(nlpx):
    texts = ["".join(tiny.CHARACTERS[n % 7 : n % 7 + 1 + n % 18]) for n in range(150)]
    tiny.write_rows(Path("many.txt"), texts)
    outcome = nlpx("sample", "--model", "bert", "--steps", "1", "--rewrite", "many.txt", "--keep", "0:0")
    assert outcome.code == 3
    assert "lies outside" in outcome.err
    written = nlpx("sample", "--model", "bert", "--steps", "1", "--rewrite", "many.txt").out
    assert [len(line) for line in written.splitlines()] == [len(text) for text in texts]
    differing = [
        sum(a != b for a, b in zip(*pair, strict=True)) for pair in zip(written.splitlines(), texts, strict=True)
    ]
    assert max(differing) == 1
    assert sum(differing) > 100


def test_moves_change_the_length_within_bounds(nlpx):
    words = ("--from", "春夏秋冬", "--keep", "1:3", "--moves", "--length", "3:7", "--steps", "60", "--thin", "4")
    found = rows(nlpx, *words, "--chains", "4")
    assert all("夏秋" in row["text"] and 3 <= len(row["text"]) <= 7 for row in found)
    assert len({len(row["text"]) for row in found}) > 1
    new = rows(nlpx, "--moves", "--length", "3:6", "--steps", "30", "--chains", "2")
    assert all(3 <= len(row["text"]) <= 6 for row in new)


def test_no_text_twice(nlpx):
    words = ("--from", "春夏[MASK]秋", "--steps", "60", "--thin", "1")
    everything = [row["text"] for row in rows(nlpx, *words)]
    assert [row["text"] for row in rows(nlpx, *words, "--unique")] == list(dict.fromkeys(everything))


def test_what_may_be_drawn(nlpx):
    words = ("--length", "6", "--steps", "30", "--temperature", "3", "--chains", "6")
    bans = [word for character in tiny.CHARACTERS[3:] for word in ("--ban", character)]
    found = rows(nlpx, *words, *bans)
    assert set("".join(row["text"] for row in found)) == set(tiny.CHARACTERS[:3])
    assert not any("a" in row["text"] for row in rows(nlpx, *words))
    pieces = rows(nlpx, *words, "--allow", "##", *bans)
    assert any("a" in row["text"] for row in pieces)


def test_words_of_a_word_level_model(nlpx):
    words = ["春风", "秋雨", "山川", "湖海", "日月", "星云"]
    size = len(tiny.SPECIAL) + len(words)
    tiny.bert(Path("words"), vocab_size=size, vocab=[*tiny.SPECIAL, *words])
    outcome = nlpx("sample", "--model", "words", "--length", "4", "--steps", "20")
    assert outcome.code == 0, outcome.err
    for line in outcome.out.splitlines():
        assert len(line) == 8
        assert all(line[start : start + 2] in words for start in range(0, 8, 2))
    filled = nlpx("sample", "--model", "words", "--from", "春风[MASK]秋雨", "--steps", "4", "--chains", "1").out
    assert filled[:2] == "春风"
    assert filled[2:4] in words
    assert filled[4:6] == "秋雨"


def test_an_encoder_of_transformers(nlpx):
    tiny.checkpoint(Path("xlmr"), "XLMRobertaConfig", "XLMRobertaForMaskedLM", pad_token_id=0)
    outcome = nlpx("sample", "--model", "xlmr", "--length", "5", "--steps", "12", "--chains", "2")
    assert outcome.code == 0, outcome.err
    assert [len(line) for line in outcome.out.splitlines()] == [5, 5]


def test_diagnostics(nlpx):
    words = ("sample", "--model", "bert", "--length", "6", "--steps", "80", "--chains", "3", "--thin", "4")
    outcome = nlpx(*words, "--diagnostics")
    plain = nlpx(*words)
    assert outcome.out == plain.out
    assert plain.err == ""
    table = outcome.err.splitlines()
    assert [line.split()[0] for line in table[:5]] == ["chain", "0", "1", "2", "all"]
    assert all(line.startswith("no ess: ") for line in table[5:])  # ten states are too few for it
    assert len(table) == 6
    assert nlpx(*words, "--diagnostics", "--quiet").err == ""
    as_json = nlpx(*words, "--diagnostics", "--json")
    found = json.loads(as_json.err)["diagnostics"]
    texts = [json.loads(line) for line in as_json.out.splitlines()]
    assert found["texts"] == len(texts) == 30
    assert [chain["texts"] for chain in found["chains"]] == [10] * 3
    energies = [row["pseudo_energy"] / 6 for row in texts]
    assert found["pseudo_log_likelihood"] == pytest.approx(-sum(energies) / len(energies))
    assert 0 < found["changed"] <= 1
    assert found["r_hat"] > 0.5
    assert found["effective_sample_size"] is None
    assert found["why_not"].keys() == {"effective_sample_size"}
    assert found["distinct_1"] == pytest.approx(len(set("".join(row["text"] for row in texts))) / 180, abs=0.02)


def test_the_plot(nlpx):
    pytest.importorskip("matplotlib")
    outcome = nlpx("sample", "--model", "bert", "--steps", "30", "--length", "5", "--plot", "traces.png")
    assert outcome.code == 0
    assert Path("traces.png").read_bytes().startswith(b"\x89PNG")
    assert "traces.png" in outcome.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--model", "headless"), 3, "headless: the model has no masked-language-model head"),
        (("--model", "headless"), 3, "nlpx pretrain --model headless --objective mlm"),
        (("--model", "xlmr"), 3, "no masked-language-model head"),
        (("--model", "nothing/at/all"), 3, "no directory nothing/at/all"),
        (("--from", "春" * 23), 3, "--from: 23 tokens, and the model has positions for 22"),
        (("--rewrite", "long.txt"), 3, "long.txt:2: 23 tokens"),
        (("--from", ""), 3, "no position of the text is free"),
        (("--from", "春夏", "--keep", "0:2"), 3, "no position of the text is free"),
        (("--rewrite", "long.txt", "--keep", ":"), 3, "long.txt:1: no position of the text is free"),
        (("--from", "春夏", "--keep", "1:9"), 3, "--keep 1:9 lies outside of the text of 2 characters"),
        (("--keep", "0:2"), 2, "--keep has no text to keep"),
        (("--from", "春夏", "--keep", "x"), 2, "--keep x: not a span"),
        (("--from", "春[MASK]", "--keep", "0:1"), 3, "--keep has no effect beside [MASK]"),
        (("--length", "9:4"), 2, "--length 9:4: no text has that length"),
        (("--length", "0"), 2, "--length 0: no text has that length"),
        (("--length", "long"), 2, "--length long: not a length"),
        (("--length", "8:40"), 3, "--length: 40 tokens, and the model has positions for 22"),
        (("--from", "春夏秋", "--moves", "--length", "9:12"), 3, "the text to start from has 3 tokens"),
        (("--from", "春夏秋", "--length", "3"), 2, "--length has no effect with a text to start from"),
        (("--temperature", "-1"), 2, "--temperature -1 is below 0"),
        (("--temperature", "nan"), 2, "--temperature nan is below 0 or no number"),
        (("--steps", "0"), 2, "--steps 0: at least 1"),
        (("--steps", "9", "--length", "20"), 3, "--length: 9 steps cannot fill 20 open positions"),
        (("--steps", "1", "--from", "春[MASK]夏[MASK]"), 3, "--from: 1 steps cannot fill 2 open positions"),
        (("--steps", "10", "--burn-in", "10"), 2, "--burn-in 10 of 10 steps leaves no sample"),
        (("--chains", "0"), 2, "--chains 0: at least 1"),
        (("--top-k", "0"), 2, "--top-k 0: at least 1"),
        (("--top-p", "1.5"), 2, "--top-p 1.5 is no probability"),
        (("--block", "0"), 2, "--block 0: at least 1"),
        (("--moves", "--top-k", "5"), 2, "--moves cannot go with --top-k or --top-p"),
        (("--moves", "--block", "2"), 2, "--moves cannot go with --block"),
        (("--ban", "龘"), 2, "`龘` is no token of"),
        (("--allow", "[MASK]"), 2, "--allow [MASK]: it is never part of a text"),
        (("--rewrite", "missing.txt"), 3, "missing.txt: no such file"),
        (("--rewrite", "long.txt", "--chains", "2"), 2, "--chains has no effect with --rewrite"),
        (("--rewrite", "long.txt", "--plot", "x.png"), 2, "--plot cannot go with --rewrite"),
        (("--rewrite", "long.txt", "--anneal"), 2, "--anneal lets the temperature fall over --steps"),
        (("--rewrite", "gbk.txt"), 3, "gbk.txt:1"),
        (("--device", "tpu"), 2, "unknown device `tpu`"),
        (("--stepz", "3"), 2, "No such option"),
    ],
)
def test_bad_input(nlpx, words, code, message):
    if "headless" in words:
        tiny.bert(Path("headless"), "BertModel")
    if "xlmr" in words:
        tiny.checkpoint(Path("xlmr"), "XLMRobertaConfig", "XLMRobertaModel", pad_token_id=0)
    tiny.write_rows(Path("long.txt"), ["春", "春" * 23])
    Path("gbk.txt").write_bytes("春夏秋冬山川湖海".encode("gb18030") + b"\n")
    outcome = nlpx("sample", *(() if "--model" in words else ("--model", "bert")), *words)
    assert outcome.code == code, outcome
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == "" or "long.txt" in words


def test_a_model_that_reads_from_left_to_right(nlpx):
    from nlpx import load_model, load_tokenizer
    from nlpx.models.checkpoints.save import save_model

    save_model(load_model("bert", head="lm"), Path("causal"))
    load_tokenizer("bert").save("causal")
    outcome = nlpx("sample", "--model", "causal")
    assert (outcome.code, outcome.out) == (3, "")
    assert "causal: the model reads from left to right" in outcome.err


def test_lines_before_a_bad_one_are_answered_from_a_pipe(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "nlpx_cli", "sample", "--model", "bert", "--steps", "2", "--rewrite", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("春夏秋冬\n")
    process.stdin.flush()
    assert len(process.stdout.readline()) == 5  # while stdin is still open
    process.stdin.close()
    assert process.wait() == 0


def test_a_reader_that_goes_away(tmp_path):
    command = f"{sys.executable} -m nlpx_cli sample --model bert --steps 4000 --thin 1 --length 6 | head -3"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, encoding="utf-8", cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [len(line) for line in done.stdout.splitlines()] == [6, 6, 6]


def test_the_shipped_model_answers_offline(nlpx_process):
    outcome = nlpx_process("sample", "--steps", "12", "--length", "6", environment={"HF_HUB_OFFLINE": "1"})
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out.splitlines()) == 8


def test_the_help_says_what_it_is_not(nlpx):
    text = " ".join(nlpx("sample", "--help").out.split())
    assert "belong to no one joint distribution, so the chain has no exact target" in text
    assert "as if none depended on another" in text
