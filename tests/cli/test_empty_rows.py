"""Rows whose text is null or empty: whoever reads texts leaves them out, and says how many there were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny

TEXTS = ["春天来了", None, "夏天来了", "", "  ", "秋天到了，冬天还远"]  # three of six are texts
LINES = ["春天来了", "", "夏天来了", "  ", "秋天到了，冬天还远"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLPX_CACHE", str(tmp_path / "cache"))


def _write(kind: str, times: int = 1) -> str:
    texts = TEXTS * times
    path = Path(f"rows.{kind}")
    if kind == "jsonl":
        tiny.write_rows(path, [{"id": number, "text": text} for number, text in enumerate(texts)])
    elif kind == "txt":
        tiny.write_rows(path, LINES * times)
    elif kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow.parquet import write_table

        write_table(pyarrow.table({"text": pyarrow.array(texts)}), path)
    else:
        separator = {"csv": ",", "tsv": "\t"}[kind]
        rows = [f"{number}{separator}{text or ''}" for number, text in enumerate(texts)]
        tiny.write_rows(path, [f"id{separator}text", *rows])
    return str(path)


KINDS = ("jsonl", "csv", "tsv", "parquet")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_wordfreq(nlpx, kind, workers):
    outcome = nlpx("wordfreq", _write(kind), "--unit", "char", "--workers", workers)
    assert outcome.code == 0
    assert "3 rows have no text and are not counted" in outcome.err
    assert "3 texts" in outcome.err
    plain = nlpx("wordfreq", _write("txt"), "--unit", "char")
    assert plain.out == outcome.out
    assert "no text" not in plain.err  # an empty line of plain text is no row


def test_wordfreq_in_portions_and_from_stdin(nlpx, monkeypatch):
    import io

    source = _write("jsonl", times=3000)
    for words in (("--checkpoint", "kept"), ("--checkpoint", "kept"), ("--unit", "token", "--tokenizer", "char-tiny")):
        assert "9,000 rows have no text and are not counted" in nlpx("wordfreq", source, *words, "--top", "1").err
    text = Path(source).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
    assert "9,000 rows have no text" in nlpx("wordfreq", "-", "--input-format", "jsonl", "--top", "1").err


def test_wordfreq_says_it_as_json_too(nlpx):
    outcome = nlpx("wordfreq", _write("jsonl"), "--json")
    assert {"warning": "3 rows have no text and are not counted"} in map(json.loads, outcome.err.splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_vocab(nlpx, kind):
    source = _write(kind)
    tiny.write_vocab(Path("base"))
    for words in (
        ("build", source, "-o", "char"),
        ("build", source, "--kind", "word", "-o", "word"),
        ("trim", "base/vocab.txt", "--data", source, "-o", "small"),
        ("show", "base/vocab.txt", "--data", source),
    ):
        outcome = nlpx("vocab", *words)
        assert outcome.code == 0, outcome.err
        assert outcome.err.count("3 rows have no text and are left out") == 1, words


@pytest.mark.parametrize("kind", KINDS)
def test_pretrain(nlpx, kind):
    words = ("--data", _write(kind, times=12), "--dry-run", "--set", "data.held_out=0.5", "--set", "data.workers=1")
    small = ("--set", "model.new={hidden_size: 16, num_layers: 1, num_attention_heads: 2, intermediate_size: 16}")
    outcome = nlpx("pretrain", *words, *small, "--tokenizer", str(tiny.write_vocab(Path("base"))), "--max-length", "16")
    assert "36 of 72 texts are empty and are left out" in outcome.err
    again = nlpx("pretrain", *words, *small, "--tokenizer", "base", "--max-length", "16")
    assert "36 of 72 texts are empty and are left out" in again.err  # also where the shards were found


def test_a_missing_field_is_refused_by_its_line(nlpx):
    tiny.write_rows(Path("rows.jsonl"), [{"text": "春天来了"}, {"txt": "夏天来了"}])
    for words in (
        ("wordfreq", "rows.jsonl"),
        ("vocab", "build", "rows.jsonl"),
        ("pretrain", "rows.jsonl", "--dry-run"),
    ):
        outcome = nlpx(*words)
        assert (outcome.code, "rows.jsonl:2: no field `text`" in outcome.err) == (3, True)
