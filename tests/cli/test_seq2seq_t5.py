"""`nlpx finetune --task seq2seq` and `nlpx generate` with models of two stacks (T5, mT5)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch

import tiny
from nlpx.models.checkpoints.save import export_model
from nlpx.models.config import ModelConfig
from nlpx.models.encoder_decoder import EncoderDecoder

PAIRS = [
    {"source": "春天的风从南方来", "target": "春风"},
    {"source": "夏天常有雷雨", "target": "夏雨"},
    {"source": "秋天月亮很圆", "target": "秋月"},
    {"source": "冬天的山上有雪", "target": "冬雪"},
]
T5 = ("finetune", "--task", "seq2seq", "--set", "task_options.arrangement=encoder_decoder")
SHORT = tiny.settings("data.max_length=40", "task_options.max_target_length=6", "tricks={}", "model.choices={}")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def pieces() -> bytes:
    """A sentencepiece model of the characters of `PAIRS`, ids as T5 has them: <pad> 0, </s> 1, <unk> 2."""
    model = io.BytesIO()
    lines = [text for pair in PAIRS for text in pair.values()] * 4
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=45, model_type="char", minloglevel=2,
        normalization_rule_name="identity", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False,
    )  # fmt: skip
    return model.getvalue()


@pytest.fixture
def mt5(pieces) -> str:
    """A random mT5 in transformers' layout."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 64, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}
    config = ModelConfig(
        family="mt5", **sizes, num_layers=2, num_decoder_layers=2, position="bucketed", norm="rms", norm_place="pre",
        norm_eps=1e-6, embedding_norm=False, use_bias=False, attention_scale="none", feed_forward="gated",
        hidden_act="gelu_new", type_vocab_size=0, heads=("lm",), lm_transform=False, lm_bias=False,
        tie_word_embeddings=False, initializer_range=0.1, hidden_dropout=0, attention_dropout=0,
        special_token_ids={"pad": 0, "eos": 1, "decoder_start": 0},
    )  # fmt: skip
    export_model(EncoderDecoder(config), Path("mt5"))
    Path("mt5/spiece.model").write_bytes(pieces)
    return "mt5"


def test_it_learns_a_few_pairs_by_heart(nlpx, mt5):
    data = str(tiny.write_rows(Path("pairs.jsonl"), PAIRS))
    words = ("--steps", "80", "--set", "optim.learning_rate=0.01", "--set", "train.eval_every=80", "--out", "run")
    outcome = nlpx(*T5, "--model", mt5, "--data", data, "--dev", data, *SHORT, *words, "--require", "0.99")
    assert (outcome.code, outcome.out) == (0, "run\n"), outcome.err
    outcome = nlpx("predict", "run", data)
    assert [json.loads(line)["generated"] for line in outcome.out.splitlines()] == [row["target"] for row in PAIRS]
    Path("lines.txt").write_text("夏天常有雷雨\n秋天月亮很圆\n", encoding="utf-8")
    for how in ((), ("--beams", "3"), ("--precision", "int8"), ("--restore-punctuation",)):
        outcome = nlpx("generate", "run", "lines.txt", *how)
        assert outcome.out == "夏雨\n秋月\n", outcome.err
    assert "one stack reads, another writes" in outcome.err


def test_tricks_of_writing_join(nlpx, mt5):
    data = str(tiny.write_rows(Path("pairs.jsonl"), PAIRS))
    tricks = tiny.settings("tricks.teaforn={passes: 2}", "tricks.r_drop={}", "loss=sparse_softmax")
    outcome = nlpx(*T5, "--model", mt5, "--data", data, "--dev", data, *SHORT, *tricks, "--steps", "2", "--out", "run")
    assert outcome.code == 0, outcome.err


def test_the_other_kind_of_model_is_refused(nlpx, mt5):
    data = str(tiny.write_rows(Path("pairs.jsonl"), PAIRS))
    outcome = nlpx("finetune", "--task", "seq2seq", "--model", mt5, "--data", data, *SHORT, "--out", "run")
    assert outcome.code == 2
    assert "--set task_options.arrangement=encoder_decoder" in outcome.err
    assert not Path("run").exists()
    outcome = nlpx(*T5, "--model", "char-tiny", "--data", data, *SHORT, "--out", "run")
    assert outcome.code == 2
    assert "needs a model with a stack that writes, such as T5 and mT5" in outcome.err
