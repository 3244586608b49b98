"""`nlpx sample --rewrite` on rows: one field is rewritten a little, the others stay."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

import tiny

VOCAB = [*tiny.VOCAB, "，", "。", "1", "2"]
TEXTS = ["春天夏天，秋1冬。", None, "风雨雷电山川湖海日月星云花草树木", "，。", "鱼鸟虫兽东南西北"]
ROWS = [{"id": number, "body": text, "label": f"x{number}"} for number, text in enumerate(TEXTS)]
STAYS = [1, 3]  # no text, and nothing with a letter


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    tiny.checkpoint(Path("bert"), "BertConfig", "BertForMaskedLM", vocab=VOCAB, vocab_size=len(VOCAB))


def _write(kind: str) -> str:
    path = Path(f"rows.{kind}")
    if kind == "jsonl":
        tiny.write_rows(path, ROWS)
    elif kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow.parquet import write_table

        write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        mark = {"csv": ",", "tsv": "\t"}[kind]
        lines = [mark.join(str(row[name] or "" if name == "body" else row[name]) for name in row) for row in ROWS]
        tiny.write_rows(path, [mark.join(ROWS[0]), *lines])
    return str(path)


def _read(text: str, kind: str) -> list[dict[str, str]]:
    if kind == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(text.splitlines(), delimiter={"csv": ",", "tsv": "\t"}[kind]))


WORDS = ("sample", "--model", "bert", "--field", "body", "--rewrite")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_one_field_is_rewritten_in_the_form_it_came(nlpx, kind):
    outcome = nlpx(*WORDS, _write(kind))
    assert outcome.code == 0, outcome.err
    found = _read(outcome.out, kind)
    assert [list(row) for row in found] == [list(row) for row in ROWS]
    for number, (row, before) in enumerate(zip(found, ROWS, strict=True)):
        assert (str(row["id"]), row["label"]) == (str(before["id"]), before["label"])
        old, new = before["body"] or "", row["body"] or ""
        differing = [place for place, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        if number in STAYS:
            assert new == old
        else:
            assert len(differing) <= max(1, round(0.1 * sum(map(str.isalpha, old))))
            assert all(old[place].isalpha() and new[place].isalpha() for place in differing)
    assert "1 row has no text and stays as it is" in outcome.err
    assert "of the characters kept" in outcome.err


def test_every_form_goes_out(nlpx):
    source = _write("jsonl")
    expected = _read(nlpx(*WORDS, source).out, "jsonl")
    for name in ("out.jsonl", "out.csv", "out.tsv", "out.parquet"):
        if name.endswith("parquet"):
            parquet = pytest.importorskip("pyarrow.parquet")
        outcome = nlpx(*WORDS, source, "-o", name)
        assert (outcome.code, outcome.out) == (0, ""), outcome.err
        if name.endswith("parquet"):
            assert parquet.read_table(name).to_pylist() == expected
        else:
            text = Path(name).read_text(encoding="utf-8")
            assert [row["body"] or "" for row in _read(text, name[4:])] == [row["body"] or "" for row in expected]
    assert _read(nlpx(*WORDS, source, "--format", "csv").out, "csv")[0]["body"] == expected[0]["body"]
    assert _read(nlpx(*WORDS, _write("parquet")).out, "jsonl") == expected


def test_the_same_row_alone_becomes_the_same(nlpx):
    expected = _read(nlpx(*WORDS, _write("jsonl")).out, "jsonl")
    tiny.write_rows(Path("rows.jsonl"), [*[{"body": ""}] * 4, ROWS[4]])
    assert _read(nlpx(*WORDS, "rows.jsonl").out, "jsonl")[4] == expected[4]


def test_how_far_it_went_is_measured(nlpx):
    outcome = nlpx(*WORDS, _write("jsonl"), "--diagnostics", "--json")
    facts = json.loads(outcome.err.splitlines()[-1])["diagnostics"]
    old = "".join(text for number, text in enumerate(TEXTS) if number not in STAYS)  # type: ignore[misc]
    new = "".join(row["body"] for number, row in enumerate(_read(outcome.out, "jsonl")) if number not in STAYS)
    assert facts["texts"] == 3
    assert facts["kept"] == pytest.approx(sum(a == b for a, b in zip(old, new, strict=True)) / len(old))
    assert facts["pseudo_perplexity_before"] > 1
    assert facts["pseudo_perplexity_after"] > 1
    assert nlpx(*WORDS, "rows.jsonl", "--temperature", "0", "--steps", "1", "--diagnostics").code == 0


def test_lines_and_samples_go_to_a_file(nlpx):
    tiny.write_rows(Path("lines.txt"), ["春天夏天", "", "鱼鸟虫兽"])
    plain = nlpx("sample", "--model", "bert", "--rewrite", "lines.txt").out
    assert nlpx("sample", "--model", "bert", "--rewrite", "lines.txt", "-o", "out.txt").out == ""
    assert Path("out.txt").read_text(encoding="utf-8") == plain
    words = ("sample", "--model", "bert", "--steps", "20", "--length", "6", "--chains", "2")
    printed = nlpx(*words).out
    assert nlpx(*words, "-o", "out.txt").code == 0
    assert Path("out.txt").read_text(encoding="utf-8") == printed


@pytest.mark.parametrize(
    ("rows", "words", "said"),
    [
        ([{"body": ["春"]}], (), "rows.jsonl:1: field `body` is no text"),
        ([{"text": "春"}], (), "rows.jsonl:1: has no field `body`"),
        ([{"body": "春天"}], ("--format", "parquet"), "Parquet cannot go to stdout"),
        ([{"body": "春天"}], ("--keep", "0:9"), "rows.jsonl:1: --keep 0:9 lies outside"),
    ],
)
def test_what_cannot_be_rewritten_is_refused(nlpx, rows, words, said):
    tiny.write_rows(Path("rows.jsonl"), rows)
    outcome = nlpx(*WORDS, "rows.jsonl", *words)
    assert outcome.code in (2, 3)
    assert said in outcome.err


def test_lines_that_look_like_rows_are_said(nlpx):
    tiny.write_rows(Path("rows.txt"), [{"body": "春天"}])
    outcome = nlpx("sample", "--model", "bert", "--rewrite", "rows.txt")
    assert "--input-format jsonl reads rows" in outcome.err
    assert _read(nlpx(*WORDS, "rows.txt", "--input-format", "jsonl").out, "jsonl")[0].keys() == {"body"}
