"""`nlpx evaluate sts`: figures worked out one by one, the same at every call, sets and means, bad input named."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from nlpx.embed.encoder import SentenceEncoder

COLUMNS = ["plain", "whitening", "whitening-8", "turned-8"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    tiny.bert(Path("bert"), "BertModel")
    rows = [
        {
            "text1": row["source"],
            "text2": row["target"],
            "score": n % 2,
            "split": "ab"[n % 3 == 0],
            "kind": "xy"[n < 40],
        }
        for n, row in enumerate(tiny.rows(120))
    ]
    tiny.write_rows(Path("pairs.jsonl"), rows)
    tiny.write_rows(Path("other.tsv"), [f"{row['text1']}\t{row['text2']}\t{row['score']}" for row in rows[:50]])


def measured(nlpx, *words):
    outcome = nlpx("evaluate", "sts", *words, "--model", "bert", "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def ranks(numbers):
    return np.array([(numbers < number).sum() + (numbers == number).sum() / 2 for number in numbers])


def test_figures_worked_out_one_by_one(nlpx):
    rows = [json.loads(line) for line in Path("pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    result = measured(nlpx, "pairs.jsonl")
    (found,) = result["sets"]
    assert (found["name"], found["pairs"], result["columns"]) == ("pairs", 120, COLUMNS)
    assert list(found["poolings"]) == ["first-last-avg", "mean", "cls", "pooler"]
    scores = np.array([row["score"] for row in rows])
    texts = list(dict.fromkeys(row[name] for row in rows for name in ("text1", "text2")))
    encoder = SentenceEncoder.load("bert", poolings=("mean",), device="cpu")
    vectors = dict(zip(texts, encoder.encode(texts)["mean"].astype("f8"), strict=True))
    left, right = (np.stack([vectors[row[name]] for row in rows]) for name in ("text1", "text2"))
    both = np.concatenate([left, right])
    values, directions = np.linalg.eigh(np.cov(both.T))
    kernel = directions[:, ::-1][:, :8] * values[::-1][:8] ** -0.5
    for column, sides in (
        ("plain", (left, right)),
        ("whitening-8", [(x - both.mean(0)) @ kernel for x in (left, right)]),
    ):
        cosines = (sides[0] * sides[1]).sum(1) / np.linalg.norm(sides[0], axis=1) / np.linalg.norm(sides[1], axis=1)
        estimate = found["poolings"]["mean"][column]
        expected = np.corrcoef(ranks(cosines.round(9)), ranks(scores))[0, 1]
        assert estimate["spearman"]["value"] == pytest.approx(expected, abs=1e-9)
        assert estimate["pearson"]["value"] == pytest.approx(np.corrcoef(cosines, scores)[0, 1], abs=1e-9)
        assert estimate["spearman"]["low"] < estimate["spearman"]["value"] < estimate["spearman"]["high"]


def test_the_same_at_every_call(nlpx):
    first = measured(nlpx, "pairs.jsonl", "--pooling", "mean")
    assert measured(nlpx, "pairs.jsonl", "--pooling", "mean") == first
    other = measured(nlpx, "pairs.jsonl", "--pooling", "mean", "--seed", "8")
    ours, theirs = (one["sets"][0]["poolings"]["mean"]["plain"]["spearman"] for one in (first, other))
    assert ours["value"] == theirs["value"]
    assert ours["low"] != theirs["low"]


def test_sets_splits_and_means(nlpx):
    result = measured(nlpx, "pairs.jsonl", "--by", "kind", "--split", "a", "--pooling", "cls")
    assert {one["name"]: one["pairs"] for one in result["sets"]} == {"y": 26, "x": 54}
    values = [one["poolings"]["cls"]["plain"]["pearson"]["value"] for one in result["sets"]]
    means = [result[key]["poolings"]["cls"]["plain"]["pearson"]["value"] for key in ("mean", "weighted_mean")]
    assert means == pytest.approx([sum(values) / 2, (26 * values[0] + 54 * values[1]) / 80])
    limited = measured(nlpx, "pairs.jsonl", "other.tsv", "--limit", "40", "--pooling", "cls")
    assert {one["name"]: one["pairs"] for one in limited["sets"]} == {"pairs": 40, "other": 40}


def test_a_map_fitted_on_other_texts(nlpx):
    Path("corpus.txt").write_text("".join(f"{row['source']}\n" for row in tiny.rows(300, seed=5)), encoding="utf-8")
    own = measured(nlpx, "other.tsv", "--pooling", "mean")
    other = measured(nlpx, "other.tsv", "--pooling", "mean", "--fit", "corpus.txt")
    same = measured(nlpx, "other.tsv", "--pooling", "mean", "--fit", "other.tsv")

    def column(result, name):
        return result["sets"][0]["poolings"]["mean"][name]["pearson"]["value"]

    assert column(own, "plain") == pytest.approx(column(other, "plain"), abs=1e-6)
    assert abs(column(own, "whitening") - column(other, "whitening")) > 1e-6
    assert column(own, "whitening") == pytest.approx(column(same, "whitening"), abs=1e-3)


def test_too_few_pairs_for_some_maps(nlpx):
    outcome = nlpx(
        "evaluate", "sts", "pairs.jsonl", "--model", "bert", "--limit", "8", "--pooling", "mean", "--dim", "4"
    )
    assert outcome.code == 0
    assert "cannot be whitened to 16 dimensions" in outcome.err
    spearman = outcome.out.splitlines()[1]
    assert outcome.out.splitlines()[0].split()[-3:] == ["whitening", "whitening-4", "turned-4"]
    assert " - " in spearman
    assert spearman.count("(") == 3


def test_table_pipe_and_plot(nlpx, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(Path("other.tsv").read_bytes()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    outcome = nlpx("evaluate", "sts", "-", "--model", "bert", "--plot", "plots/sts.png")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["set", "pairs", "pooling", "correlation", *COLUMNS]
    assert len(lines) == 1 + 4 * 2
    assert lines[1].split()[:4] == ["stdin", "50", "first-last-avg", "spearman"]
    assert Path("plots/sts.png").read_bytes().startswith(b"\x89PNG")
    quiet = nlpx("evaluate", "sts", "other.tsv", "--model", "bert", "--quiet")
    value = measured(nlpx, "other.tsv")["sets"][0]["poolings"]["first-last-avg"]["plain"]["spearman"]["value"]
    assert quiet == (0, f"{value:.4f}\n", "")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("unscored.jsonl",), 3, "unscored.jsonl:2: the pair has no score"),
        (("unscored.tsv",), 3, "unscored.tsv:1: the pair has no score"),
        (("pairs.jsonl", "--score-field", "grade"), 3, "pairs.jsonl:1: the pair has no score"),
        (("pairs.jsonl", "--split", "dev"), 3, "pairs.jsonl: no pair has the split `dev`"),
        (("pairs.jsonl", "--by", "domain"), 3, "pairs.jsonl:1: has no field `domain`"),
        (("pairs.jsonl", "--pooling", "max"), 2, "unknown pooling `max`"),
        (("pairs.jsonl", "--dim", "17"), 2, "--dim 17: the vectors of bert have 16 dimensions"),
        (("alike.tsv",), 3, "alike: all 2 pairs have the score 1"),
        (("empty.tsv",), 3, "empty.tsv is empty"),
        (("missing.tsv",), 3, "missing.tsv: no such file"),
    ],
)
def test_what_cannot_be_measured(nlpx, words, code, message):
    tiny.write_rows(
        Path("unscored.jsonl"), [{"text1": "春", "text2": "夏", "label": 1}, {"text1": "春", "text2": "夏"}]
    )
    tiny.write_rows(Path("unscored.tsv"), ["春\t夏"])
    tiny.write_rows(Path("alike.tsv"), ["春\t夏\t1", "秋\t冬\t1"])
    Path("empty.tsv").write_text("", encoding="utf-8")
    outcome = nlpx("evaluate", "sts", *words, "--model", "bert")
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    assert message in outcome.err
