"""Tokens added to the vocabulary of a BERT, in every command that tokenizes, and what convert keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel, BertTokenizer

import sentence_transformers_folders as folders
import tiny
from nlpx.tokenizers.load import load_tokenizer

TEXTS = ["[E1]春夏[/E1]秋冬", "风雨", "山[E1][MASK]"]
ADDED = {"[E1]": len(tiny.VOCAB), "[/E1]": len(tiny.VOCAB) + 1}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")


@pytest.fixture
def theirs():
    model = tiny.bert(Path("model"), "BertModel", vocab_size=len(tiny.VOCAB) + 2)
    folders.write(Path("model/added_tokens.json"), ADDED)
    folders.write(Path("model/tokenizer_config.json"), {"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    return model


def by_hand(model: BertModel, folder: str = "model") -> np.ndarray:
    tokenizer, found = BertTokenizer.from_pretrained(folder), []
    for text in TEXTS:
        with torch.no_grad():
            found.append(model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0].mean(0).numpy())
    return np.stack(found)


def test_vectors_are_those_of_transformers(nlpx, theirs):
    words = ("--model", "model", "--pooling", "mean", "--precision", "float32", "-o", "emb.npy")
    assert nlpx("embed", "texts.txt", *words).code == 0
    np.testing.assert_allclose(np.load("emb.npy"), by_hand(theirs), atol=1e-5)
    assert nlpx("similar", "pairs", "texts.txt", "--model", "model", "--threshold", "-1").code == 0
    assert json.loads(nlpx("inspect", "model", "--json").out)["tokenizer"]["vocab_size"] == len(tiny.VOCAB) + 2


@pytest.mark.usefixtures("theirs")
def test_they_are_counted_as_one_token(nlpx):
    outcome = nlpx("wordfreq", "texts.txt", "--tokenizer", "model", "--format", "tsv")
    assert "[E1]\t2\n" in outcome.out
    assert "[/E1]\t1\n" in outcome.out
    assert "[UNK]" not in outcome.out


@pytest.mark.parametrize("form", ["hf", "nlpx"])
def test_convert_keeps_their_names(nlpx, theirs, form):
    assert nlpx("convert", "model", "out", "--to", form).code == 0
    assert Path("out/vocab.txt").read_text(encoding="utf-8").splitlines()[-2:] == list(ADDED)
    assert load_tokenizer("out").tokenize(TEXTS[0]) == ["[E1]", "春", "夏", "[/E1]", "秋", "冬"]
    if form == "hf":
        np.testing.assert_allclose(by_hand(BertModel.from_pretrained("out").eval(), "out"), by_hand(theirs), atol=1e-5)


@pytest.mark.usefixtures("theirs")
def test_a_fine_tuned_model_keeps_them(nlpx):
    rows = [{"text": f"[E1]{row['text']}[/E1]", "label": row["label"]} for row in tiny.labelled(60)]
    tiny.write_rows(Path("rows.jsonl"), rows)
    words = tiny.settings("data.max_length=24", "train.epochs=1")
    outcome = nlpx("finetune", "--task", "classify", "--data", "rows.jsonl", "--model", "model", *words, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "never used" not in outcome.err
    assert load_tokenizer("run/checkpoints/best").tokenize("[E1]春") == ["[E1]", "春"]


@pytest.mark.parametrize("form", ["hf", "nlpx"])
@pytest.mark.usefixtures("theirs")
def test_convert_keeps_what_a_sentence_transformers_directory_says(nlpx, form):
    folders.around(Path("model"), pooling={"pooling_mode_mean_tokens": True}, normalize=True, subfolder=True, length=9)
    words = ("--precision", "float32", "--quiet", "-o")
    assert nlpx("convert", "model", "out", "--to", form).code == 0
    assert nlpx("embed", "texts.txt", "--model", "model", *words, "before.npy").code == 0
    assert nlpx("embed", "texts.txt", "--model", "out", *words, "after.npy").code == 0
    np.testing.assert_allclose(np.load("after.npy"), np.load("before.npy"), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(np.load("after.npy"), axis=1), 1, atol=1e-6)
