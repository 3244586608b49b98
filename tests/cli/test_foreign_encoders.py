"""XLM-R, ModernBERT, Qwen2 and Qwen3, tiny and random: every command that takes encoders takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import foreign_tokenizers as foreign
import sentence_transformers_folders as folders
import tiny
from nlpx.tokenizers.load import load_tokenizer

TEXTS = [text.strip() for text in foreign.TEXTS if text] + foreign.SENTENCES
CAUSAL = ("qwen2", "qwen3")
every = pytest.mark.parametrize("kind", foreign.KINDS)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")


def by_hand(theirs: Any, pooling: str, texts: list[str] = TEXTS) -> np.ndarray:
    """The vectors of transformers' tokenizer and model, one text at a time."""
    tokenizer, found = AutoTokenizer.from_pretrained("model"), []
    for text in texts:
        with torch.no_grad():
            output = theirs(torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True)
        first, last = output.hidden_states[1][0], output.last_hidden_state[0]
        pooled = {"mean": last.mean(0), "cls": last[0], "last": last[-1]}
        found.append((pooled | {"first-last-avg": (first.mean(0) + last.mean(0)) / 2})[pooling].numpy())
    return np.stack(found)


@every
def test_vectors_are_those_of_transformers(nlpx, kind):
    theirs = foreign.checkpoint(kind, Path("model"))
    for pooling in ("mean", "last", "first-last-avg"):
        words = ("--model", "model", "--pooling", pooling, "--precision", "float32", "-o", "emb.npy")
        outcome = nlpx("embed", "texts.txt", *words)
        assert outcome.code == 0, outcome.err
        np.testing.assert_allclose(np.load("emb.npy"), by_hand(theirs, pooling), atol=1e-5)
    outcome = nlpx(
        "embed", "texts.txt", "--model", "model", "--pooling", "cls", "--precision", "float32", "-o", "c.npy"
    )
    if kind in CAUSAL:
        assert outcome.code == 3
        assert "reads from left to right" in outcome.err
        assert "last" in outcome.err
    else:
        np.testing.assert_allclose(np.load("c.npy"), by_hand(theirs, "cls"), atol=1e-5)


@every
def test_pairs_are_compared(nlpx, kind):
    theirs = foreign.checkpoint(kind, Path("model"))
    Path("pairs.tsv").write_text(f"{TEXTS[0]}\t{TEXTS[1]}\n{TEXTS[1]}\t{TEXTS[1]}\n", encoding="utf-8")
    outcome = nlpx("similar", "score", "pairs.tsv", "--model", "model", "--pooling", "last", "--json")
    assert outcome.code == 0, outcome.err
    first, second = by_hand(theirs, "last", TEXTS[:2])
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert [json.loads(line)["cosine"] for line in outcome.out.splitlines()] == pytest.approx([cosine, 1], abs=0.02)


@every
def test_a_whitening_is_fitted_and_folded_in(nlpx, kind):
    foreign.checkpoint(kind, Path("model"))
    words = ("--model", "model", "--pooling", "mean", "--precision", "float32", "-o")
    assert nlpx("embed", "texts.txt", *words, "emb.npy").code == 0
    assert nlpx("whiten", "emb.npy", "--dim", "3", "-o", "white.npy").code == 0
    outcome = nlpx("whiten", "--load", "emb.whitening.safetensors", "--fold", "model", "--pooling", "mean", "-o", "new")
    assert outcome.code == 0, outcome.err
    words = ("--model", "new", *words[2:])
    assert nlpx("embed", "texts.txt", *words, "again.npy").code == 0
    np.testing.assert_allclose(np.load("again.npy"), np.load("white.npy"), atol=1e-3)


@every
def test_it_is_fine_tuned_and_predicts_with_its_own_tokenizer(nlpx, kind):
    foreign.checkpoint(kind, Path("model"))
    rows = [{"text": text, "label": "中" if "天" in text else "外"} for text in TEXTS * 4]
    tiny.write_rows(Path("rows.jsonl"), rows)
    small = tiny.settings("data.max_length=24", "train.epochs=2", "train.batch_tokens=200", "optim.learning_rate=0.01")
    words = ("--model", "model", *small, "--out", "run")
    outcome = nlpx("finetune", "--task", "classify", "--data", "rows.jsonl", *words)
    assert outcome.code == 0, outcome.err
    assert "never used" not in outcome.err
    source, trained = load_tokenizer("model"), load_tokenizer("run/checkpoints/best")
    for text in TEXTS:
        assert trained.encode(text, text).token_ids == source.encode(text, text).token_ids
    outcome = nlpx("predict", "run", "rows.jsonl")
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert (outcome.code, len(found)) == (0, len(rows))
    assert {row["label"] for row in found} <= {"中", "外"}


def test_pairs_of_texts_are_classified_without_segments(nlpx):
    foreign.checkpoint("xlm_roberta", Path("model"))
    rows = [{"text1": text, "text2": TEXTS[0], "label": len(text) % 2} for text in TEXTS * 3]
    tiny.write_rows(Path("rows.jsonl"), rows)
    words = tiny.settings("data.max_length=40", "train.epochs=1", "optim.learning_rate=0.01")
    words = ("--model", "model", *words)
    outcome = nlpx("finetune", "--task", "classify", "--data", "rows.jsonl", *words, "--out", "run")
    assert outcome.code == 0, outcome.err


def test_a_decoder_is_compared_under_the_poolings_it_has(nlpx):
    foreign.checkpoint("qwen2", Path("model"))
    lines = [f"{TEXTS[n]}\t{TEXTS[n + 1]}\t{n % 5}" for n in range(8)]
    Path("scored.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcome = nlpx("evaluate", "sts", "scored.tsv", "--model", "model", "--dim", "3", "--json")
    assert outcome.code == 0, outcome.err
    assert list(json.loads(outcome.out)["sets"][0]["poolings"]) == ["first-last-avg", "mean", "last"]


def test_a_sentencepiece_file_alone_gives_the_vectors_of_its_tokenizer_json(nlpx):
    theirs = foreign.checkpoint("xlm_roberta", Path("model"))
    expected = by_hand(theirs, "mean")
    Path("model/tokenizer.json").unlink()
    Path("model/sentencepiece.bpe.model").write_bytes(foreign.sentencepiece_model())
    words = ("--model", "model", "--pooling", "mean", "--precision", "float32", "-o", "emb.npy")
    assert nlpx("embed", "texts.txt", *words).code == 0
    np.testing.assert_allclose(np.load("emb.npy"), expected, atol=1e-5)


def test_a_length_beyond_the_positions_of_xlm_roberta_is_refused_before_training(nlpx):
    foreign.checkpoint("xlm_roberta", Path("model"))
    tiny.write_rows(Path("rows.jsonl"), tiny.labelled(30))
    words = ("finetune", "--task", "classify", "--data", "rows.jsonl", "--model", "model", "--out", "run")
    outcome = nlpx(*words, *tiny.settings("data.max_length=59"))
    assert outcome.code == 2
    assert "more than the 58 positions of model" in outcome.err  # 60 rows; counting starts behind the padding's id, 1


def test_the_default_pooling_of_a_decoder_is_said(nlpx):
    foreign.checkpoint("qwen2", Path("model"))
    outcome = nlpx("embed", "texts.txt", "--model", "model", "-o", "emb.npy")
    assert "model reads from left to right, pooling first-last-avg; --pooling last takes" in outcome.err


def test_a_directory_of_qwen_embedding_decides_last_normalised_and_its_prompt(nlpx):
    theirs = foreign.checkpoint("qwen3", Path("model"))
    prompts = {"prompts": {"query": "Find: ", "document": ""}, "default_prompt_name": None}
    folders.around(Path("model"), pooling={"pooling_mode_lasttoken": True}, normalize=True, prompts=prompts)
    words = ("embed", "texts.txt", "--model", "model", "--precision", "float32", "-o", "emb.npy")
    outcome = nlpx(*words)
    assert "model is a sentence-transformers directory: pooling last, vectors of length 1" in outcome.err
    expected = by_hand(theirs, "last")
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.load("emb.npy"), expected, atol=1e-5)
    outcome = nlpx(*words, "--prompt-name", "query", "--no-normalize", "--json")
    assert json.loads(outcome.out)["prompt"] == "Find: "
    assert "before every text comes the prompt `Find: `" in nlpx(*words, "--prompt-name", "query").err
    assert nlpx(*words, "--prompt-name", "query", "--no-normalize").code == 0
    asked = by_hand(theirs, "last", ["Find: " + text for text in TEXTS])
    np.testing.assert_allclose(np.load("emb.npy"), asked, atol=1e-5)
    outcome = nlpx(*words, "--prompt-name", "title")
    assert outcome.code == 2
    assert "its prompts: query, document" in outcome.err


def test_tokens_are_counted(nlpx):
    foreign.checkpoint("modern_bert", Path("model"))
    outcome = nlpx("wordfreq", "texts.txt", "--tokenizer", "model", "--json")
    assert outcome.code == 0, outcome.err
    tokenizer = AutoTokenizer.from_pretrained("model")
    tokens = [token for text in TEXTS for token in tokenizer.tokenize(text)]
    outcome = nlpx("wordfreq", "texts.txt", "--tokenizer", "model", "--format", "tsv")
    counts = dict(line.split("\t") for line in outcome.out.splitlines() if line.count("\t") == 1)
    assert int(counts["x"]) == tokens.count("x")
    assert sum(map(int, counts.values())) == len(tokens)


@pytest.mark.parametrize(
    "words",
    [
        ("vocab", "trim", "model", "--data", "texts.txt", "-o", "out"),
        ("vocab", "extend", "model", "--words", "words.tsv", "-o", "out"),
        ("vocab", "show", "model"),
        ("evaluate", "mlm", "model", "texts.txt"),
        ("sample", "--model", "model", "--length", "4"),
        ("pretrain", "--data", "texts.txt", "--tokenizer", "model", "--out", "run"),
    ],
)
def test_what_needs_a_bert_vocabulary_refuses_the_others_with_the_way_out(nlpx, words):
    foreign.checkpoint("xlm_roberta", Path("model"))
    Path("words.tsv").write_text("天气\t3\n", encoding="utf-8")
    outcome = nlpx(*words)
    assert outcome.code == 3, outcome.err
    assert "needs a BERT vocabulary" in outcome.err
    assert "embed, similar, finetune, predict and whiten work with this one" in outcome.err


def test_they_are_inspected(nlpx):
    foreign.checkpoint("qwen3", Path("model"))
    outcome = nlpx("inspect", "model")
    assert outcome.code == 0, outcome.err
    assert "tokenizer   subwords (BPE) by the tokenizers library" in outcome.out
    facts = json.loads(nlpx("inspect", "model", "--json").out)
    assert facts["tokenizer"]["kind"] == "subword"
    assert facts["warnings"] == []


@pytest.mark.parametrize("value", ["fast", [1], {}, 10**30])
def test_what_transformers_refuses_by_classes_of_its_own_is_no_bug(nlpx, value):
    foreign.checkpoint("xlm_roberta", Path("model"))
    file = Path("model/config.json")
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | {"initializer_range": value, "hidden_size": value}), encoding="utf-8")
    outcome = nlpx("embed", "texts.txt", "--model", "model", "-o", "emb.npy")
    assert outcome.code == 3, outcome.err
    assert "model" in outcome.err
    assert "Error(" not in outcome.err


def test_a_panic_of_the_tokenizers_library_is_one_sentence(nlpx_process, tmp_path):
    """Rust reports it past Python, with a backtrace where the environment asks for one."""
    foreign.checkpoint("xlm_roberta", tmp_path / "model")
    file = tmp_path / "model" / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAA"}
    file.write_text(json.dumps(content), encoding="utf-8")
    outcome = nlpx_process(
        "embed", "texts.txt", "--model", "model", "-o", "emb.npy", environment={"RUST_BACKTRACE": "1"}
    )
    assert outcome.code == 3, outcome.err
    assert outcome.err.startswith("Error: ")
    assert len(outcome.err.splitlines()) == 2
    assert "tokenizer.json: the tokenizers library cannot read it" in outcome.err
