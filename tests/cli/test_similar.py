"""`nlpx similar`: cosines by definition, searches and pairs as brute force finds them, pipes, bad input named."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from nlpx.embed.encoder import SentenceEncoder

TEXTS = [row["source"] for row in tiny.rows(30)]
MODEL = ("--model", "bert")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    tiny.bert(Path("bert"), "BertModel")
    tiny.write_rows(Path("texts.txt"), TEXTS)
    tiny.write_rows(Path("rows.jsonl"), tiny.rows(20))
    for number, name in enumerate(("emb", "new")):
        np.save(f"{name}.npy", np.random.default_rng(number).normal(size=(300, 16)).astype("f4"))


def unit(rows):
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths == 0, 1, lengths)


def encoded(texts):
    return unit(SentenceEncoder.load("bert", device="cpu").encode(texts)["first-last-avg"].astype("f8"))


def table(text):
    return [line.split("\t") for line in text.splitlines()]


def piped(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data)), encoding="utf-8"))


def test_score_rows(nlpx):
    outcome = nlpx("similar", "score", "rows.jsonl", *MODEL)
    rows = tiny.rows(20)
    left, right = encoded([row["source"] for row in rows]), encoded([row["target"] for row in rows])
    assert outcome.code == 0
    assert [float(line) for line in outcome.out.splitlines()] == pytest.approx((left * right).sum(axis=1), abs=1e-3)
    assert outcome.out.splitlines()[1] == "1.000000"  # every second row is a text and itself
    found = [json.loads(line) for line in nlpx("similar", "score", "rows.jsonl", *MODEL, "--json").out.splitlines()]
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [f"{row['cosine']:.6f}" for row in found] == outcome.out.splitlines()


def test_score_in_a_pipe_in_small_portions(nlpx, monkeypatch):
    monkeypatch.setattr("nlpx.jobs.similar.PAIRS_AT_ONCE", 3)
    whole = nlpx("similar", "score", "rows.jsonl", *MODEL).out
    lines = [f"{row['source']}\t{row['target']}\n" for row in tiny.rows(20)]
    piped(monkeypatch, "".join(lines).encode())
    assert nlpx("similar", "score", "-", *MODEL, "--quiet") == (0, whole, "")
    piped(monkeypatch, Path("rows.jsonl").read_bytes())
    outcome = nlpx("similar", "score", *MODEL, "--fields", "target", "source")
    assert table(outcome.out) == table(whole)


def test_score_two_sides(nlpx):
    left, right = np.load("emb.npy"), np.load("new.npy")
    left[4] = 0
    np.save("emb.npy", left)
    outcome = nlpx("similar", "score", "emb.npy", "new.npy")
    expected = (unit(left.astype("f8")) * unit(right.astype("f8"))).sum(axis=1)
    assert [float(line) for line in outcome.out.splitlines()] == pytest.approx(expected, abs=1e-6)
    assert outcome.err == "Warning: 1 texts are empty or vectors zero: their cosine is 0\n"
    same = nlpx("similar", "score", "texts.txt", "texts.txt", *MODEL, "--quiet")
    assert set(same.out.splitlines()) == {"1.000000"}


def test_search_vectors(nlpx):
    rows, queries = (unit(np.load(name).astype("f8")) for name in ("emb.npy", "new.npy"))
    cosines = queries @ rows.T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :4]
    found = table(nlpx("similar", "search", "new.npy", "--index", "emb.npy", "--top", "4").out)
    assert [(int(row[0]), int(row[1]), int(row[2])) for row in found] == [
        (query, rank + 1, order[query, rank]) for query in range(300) for rank in range(4)
    ]
    assert [float(row[3]) for row in found] == pytest.approx(np.take_along_axis(cosines, order, 1).ravel(), abs=1e-6)


def test_search_texts_with_texts(nlpx, monkeypatch):
    monkeypatch.setattr("nlpx.jobs.similar.LARGEST_RESULT", 20)
    assert nlpx("embed", "texts.txt", *MODEL, "-o", "index.npy", "--quiet").code == 0
    words = ("similar", "search", "--index", "index.npy", *MODEL, "--texts", "texts.txt")
    found = table(nlpx(*words, "texts.txt").out)
    assert len(found) == 300  # ten for each
    best = [row for row in found if row[1] == "1"]
    assert [row[4] for row in best] == TEXTS
    assert {row[3] for row in best} == {"1.000000"}
    piped(monkeypatch, TEXTS[7].encode())
    hit = json.loads(nlpx(*words, "--top", "1", "--json").out)
    assert (hit["query"], hit["rank"], hit["index"], hit["text"]) == (0, 1, TEXTS.index(TEXTS[7]), TEXTS[7])
    piped(monkeypatch, Path("index.npy").read_bytes())
    assert table(nlpx(*words, "-").out) == found


def test_search_through_a_map(nlpx):
    assert nlpx("whiten", "emb.npy", "--dim", "8", "--quiet").code == 0
    transform = ("--whitening", "emb.whitening.safetensors")
    before = nlpx("similar", "search", "new.npy", "--index", "emb.npy", *transform)
    after = nlpx("similar", "search", "new.npy", "--index", "emb.whitened.npy", *transform, "--whitened-index")
    assert before.code == after.code == 0
    assert [row[2] for row in table(before.out)] == [row[2] for row in table(after.out)]
    assert nlpx("similar", "search", "new.npy", "--index", "emb.npy").out != before.out
    outcome = nlpx("similar", "search", "new.npy", "--index", "emb.whitened.npy", *transform)
    assert outcome.code == 3
    assert "of 8 numbers; the map takes 16" in outcome.err


def test_near_pairs(nlpx, monkeypatch):
    rows = unit(np.load("emb.npy").astype("f8"))
    expected = np.argwhere(np.triu(rows @ rows.T >= 0.6, 1))
    found = table(nlpx("similar", "pairs", "emb.npy", "--threshold", "0.6").out)
    assert [[int(row[0]), int(row[1])] for row in found] == expected.tolist()
    Path("copies.txt").write_text("春风\n秋雨\n\n春风\n", encoding="utf-8")
    words = ("similar", "pairs", "copies.txt", *MODEL, "--threshold", "1", "--texts", "copies.txt")
    outcome = nlpx(*words)
    assert outcome.out == "0\t3\t1.000000\t春风\t春风\n"
    assert "Warning: 1 of 4 vectors of copies.txt are zero" in outcome.err
    assert json.loads(nlpx(*words, "--json").out)["text2"] == "春风"
    piped(monkeypatch, Path("emb.npy").read_bytes())
    assert table(nlpx("similar", "pairs", "--threshold", "0.6").out) == found


def test_the_reader_may_leave():
    command = f"{sys.executable} -m nlpx_cli similar search new.npy --index emb.npy --top 300 | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("0\t1\t")


def bad_files():
    np.save("wide.npy", np.ones((300, 17), "f4"))
    np.save("short.npy", np.ones((299, 16), "f4"))
    rows = np.load("emb.npy")
    rows[123, 5] = np.nan
    np.save("nan.npy", rows)
    np.save("none.npy", np.ones((0, 16), "f4"))
    for name, content in (("empty.txt", ""), ("empty.tsv", ""), ("one.tsv", "春\t夏\n秋\n")):
        Path(name).write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("search", "wide.npy", "--index", "emb.npy"), 3, "emb.npy: vectors of 16 numbers, the queries have 17"),
        (("search", "texts.txt", "--index", "wide.npy", *MODEL), 3, "the queries have 16"),
        (("search", "new.npy", "--index", "emb.npy", "--top", "301"), 2, "--top 301: emb.npy holds 300 vectors"),
        (("search", "new.npy", "--index", "nan.npy"), 3, "nan.npy: row 123 holds nan in column 5"),
        (("search", "nan.npy", "--index", "emb.npy"), 3, "nan.npy: row 123 holds nan in column 5"),
        (("search", "new.npy", "--index", "none.npy"), 3, "there is not one vector"),
        (("search", "new.npy", "--index", "-"), 2, "cannot be stdin"),
        (("search", "new.npy", "--index", "texts.txt"), 3, "texts.txt: no .npy file"),
        (("search", "empty.txt", "--index", "emb.npy", *MODEL), 3, "empty.txt: not one query in it"),
        (
            ("search", "new.npy", "--index", "emb.npy", "--texts", "texts.txt"),
            3,
            "texts.txt holds 30 texts, emb.npy 300",
        ),
        (("search", "new.npy", "--index", "emb.npy", "--engine", "annoy"), 2, "annoy"),
        (("score", "emb.npy"), 2, "a second file is needed"),
        (("score", "emb.npy", "short.npy"), 3, "emb.npy holds 300 rows, short.npy 299"),
        (("score", "emb.npy", "wide.npy"), 3, "vectors of 16 numbers, wide.npy: of 17"),
        (("score", "emb.npy", "nan.npy"), 3, "nan.npy: row 123 holds nan in column 5"),
        (("score", "empty.tsv", *MODEL), 3, "empty.tsv is empty"),
        (("score", "one.tsv", *MODEL), 3, "one.tsv:2: 1 cell where the first line has 2"),
        (("score", "rows.jsonl", "--fields", "source", "other"), 3, "rows.jsonl:1: has no `source` or no `other`"),
        (("score", "missing.tsv"), 3, "missing.tsv: no such file"),
        (("pairs", "nan.npy"), 3, "nan.npy: row 123 holds nan in column 5"),
        (("pairs", "empty.txt", *MODEL), 3, "empty.txt: not one text in it"),
        (("pairs", "emb.npy", "--threshold", "2"), 2, "threshold"),
    ],
)
def test_bad_input(nlpx, words, code, message):
    bad_files()
    outcome = nlpx("similar", *words)
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    assert message in outcome.err
