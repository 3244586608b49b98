"""A slice of the real headlines of 15 classes: read as the data sheet counts them, and trained on for some steps."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
import torch

import tiny
from nlpx.data.rows.labelled import labels_of, read_splits

FILE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cls_tnews.jsonl.gz"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="needs the shared data beside the checkout")


def test_the_headlines_as_the_sheet_counts_them() -> None:
    splits = read_splits(FILE)
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (16225, 1805, 0)
    assert splits.notes[0].endswith("train 16,225, dev 1,805")
    counts = Counter(row.label for row in splits.train)
    assert len(labels_of(splits.train)) == len(counts) == 15
    assert max(counts.values()) > 4 * min(counts.values())


def test_a_slice_is_learned_better_than_guessing(tmp_path, monkeypatch, capsys) -> None:
    """Two classes that a look tells apart, a model from nothing: a mistake in labels or ids would leave it at half."""
    from nlpx_cli.__main__ import main

    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    with gzip.open(FILE, "rt", encoding="utf-8") as stream:
        rows = [row for row in map(json.loads, stream) if row["label"] in ("news_sports", "news_house")]
    parts = {name: [row for row in rows if row["split"] == name] for name in ("train", "dev")}
    taken = parts["train"][:800] + parts["dev"][:150]
    tiny.write_rows(tmp_path / "slice.jsonl", taken)
    sizes = "{hidden_size: 64, num_layers: 1, num_attention_heads: 2, intermediate_size: 128}"
    words = tiny.settings(f"model.new={sizes}", "train.epochs=5", "train.batch_tokens=1024", "optim.learning_rate=2e-3")
    call = ["finetune", "--task", "classify", "--data", "slice.jsonl", "--model", "new", *words]
    assert main([*call, "--require", "0.85", "--quiet", "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["predict", "run", "slice.jsonl"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in answers] == [row["text"] for row in taken]
    assert {row["label"] for row in answers} == {"news_sports", "news_house"}
