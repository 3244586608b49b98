"""Models of transformers that are no plain encoder: their encoder is taken, or they are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tiny

T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
FUNNEL = {"block_sizes": [1, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 16}
FNET = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXTS = ["春夏秋冬", "风", "东南西北春夏秋冬花草树木"]
EMBED = ("embed", "texts.txt", "--model", "model", "--pooling", "mean", "--precision", "float32", "-o", "emb.npy")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(config: str, model: str, **sizes: Any) -> Any:
    """A tiny model of transformers, saved with the vocabulary of the tests."""
    torch.manual_seed(0)
    theirs = getattr(transformers, model)(getattr(transformers, config)(**sizes)).eval()
    theirs.save_pretrained("model")
    tiny.write_vocab(Path("model"))
    Path("texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return theirs


@pytest.mark.parametrize("model", ["T5EncoderModel", "T5ForConditionalGeneration"])
def test_of_t5_the_encoder_is_taken(nlpx, model):
    theirs = made("T5Config", model, vocab_size=len(tiny.VOCAB), **T5).get_encoder()
    outcome = nlpx(*EMBED)
    assert (outcome.code, outcome.out) == (0, "emb.npy\n"), outcome.err
    for text, vector in zip(TEXTS, np.load("emb.npy"), strict=True):
        ids = [tiny.VOCAB.index(token) for token in ("[CLS]", *text, "[SEP]")]
        with torch.no_grad():
            expected = theirs(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)
    assert nlpx("inspect", "model").code == 0


@pytest.mark.parametrize(
    ("config", "model", "sizes", "said"),
    [
        ("BartConfig", "BartModel", BART | HEADS, "model_type bart is an encoder with a decoder"),
        ("FunnelConfig", "FunnelModel", FUNNEL, "model_type funnel gives a text other vectors beside longer ones"),
        ("FNetConfig", "FNetModel", FNET, "model_type fnet gives a text other vectors beside longer ones"),
        ("ViTConfig", "ViTModel", VISION, "model_type vit takes no token ids"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(nlpx, config, model, sizes, said):
    made(config, model, **sizes, **({} if model == "ViTModel" else {"vocab_size": len(tiny.VOCAB)}))
    for words in (EMBED, ("inspect", "model")):
        outcome = nlpx(*words)
        assert (outcome.code, outcome.out) == (3, ""), outcome.err
        assert f"Error: model: a model of {said}" in outcome.err
    assert not Path("emb.npy").exists()
