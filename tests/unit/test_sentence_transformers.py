"""sentence-transformers directories: vectors by hand from the files, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import sentence_transformers_folders as folders
import tiny
from nlpx.embed.encoder import SentenceEncoder
from nlpx.embed.folded import fold
from nlpx.embed.moments import Moments
from nlpx.embed.whitening import Choices, fit
from nlpx.errors import InputError, UsageError
from nlpx.models.checkpoints.load import load_model
from nlpx.tokenizers.load import load_tokenizer

TEXTS = ["春夏秋冬", "山", "鱼鸟虫兽东南西北风雨"]
CLS = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}


def load(folder: Path, **choices: Any) -> SentenceEncoder:
    return SentenceEncoder.load(folder, precision="float32", device="cpu", **choices)


def states(theirs: Any, folder: Path, text: str, **options: Any) -> torch.Tensor:
    """The last hidden states of transformers' own model, (T, D)."""
    ids = torch.tensor([load_tokenizer(folder).encode(text, **options).token_ids])
    with torch.no_grad():
        return theirs(input_ids=ids).last_hidden_state[0]


@pytest.mark.parametrize(
    ("pooling", "by_hand"),
    [
        (CLS, lambda rows: rows[0]),
        (MEAN, lambda rows: rows.mean(0)),
        ({"pooling_mode_lasttoken": True}, lambda rows: rows[-1]),
        ({"pooling_mode": "mean"}, lambda rows: rows.mean(0)),
    ],
)
@pytest.mark.parametrize("subfolder", [False, True])
def test_pooling_normalisation_and_the_folder_are_as_the_directory_says(
    tmp_path: Path, pooling: Any, by_hand: Any, subfolder: bool
) -> None:
    theirs = tiny.bert(tmp_path, "BertModel")
    folders.around(tmp_path, pooling=pooling, normalize=True, subfolder=subfolder)
    encoder = load(tmp_path)
    (vectors,) = encoder.encode([*TEXTS, ""]).values()
    for row, text in enumerate(TEXTS):
        expected = functional.normalize(by_hand(states(theirs, tmp_path, text)), dim=0)
        np.testing.assert_allclose(vectors[row], expected, atol=1e-5)
    assert not vectors[-1].any()
    assert "is a sentence-transformers directory: pooling" in encoder.notes[0]
    assert "vectors of length 1" in encoder.notes[0]


def test_a_dense_layer_comes_after_pooling(tmp_path: Path) -> None:
    theirs = tiny.bert(tmp_path, "BertModel")
    weight, bias = torch.randn(5, 16), torch.randn(5)
    folders.around(tmp_path, pooling=MEAN, dense=(weight, bias, "torch.nn.modules.activation.Tanh"), normalize=True)
    encoder = load(tmp_path)
    assert encoder.dim == 5
    for row, text in zip(encoder.encode(TEXTS)["mean"], TEXTS, strict=True):
        expected = torch.tanh(weight @ states(theirs, tmp_path, text).mean(0) + bias)
        np.testing.assert_allclose(row, expected / expected.norm(), atol=1e-5)


def test_a_dense_layer_without_bias_and_activation_in_a_file_of_torch(tmp_path: Path) -> None:
    theirs, weight = tiny.bert(tmp_path, "BertModel"), torch.randn(3, 16)
    folders.around(tmp_path, pooling=CLS, dense=(weight, None, "torch.nn.modules.linear.Identity"))
    (tmp_path / "2_Dense" / "model.safetensors").unlink()
    torch.save({"linear.weight": weight}, tmp_path / "2_Dense" / "pytorch_model.bin")
    expected = weight @ states(theirs, tmp_path, TEXTS[0])[0]
    np.testing.assert_allclose(load(tmp_path).encode(TEXTS)["cls"][0], expected, atol=1e-5)


def test_the_user_decides_against_the_directory(tmp_path: Path) -> None:
    theirs = tiny.bert(tmp_path, "BertModel")
    folders.around(tmp_path, pooling=CLS, normalize=True)
    encoder = load(tmp_path, poolings=("mean",), normalize=False)
    expected = states(theirs, tmp_path, TEXTS[0]).mean(0)
    np.testing.assert_allclose(encoder.encode(TEXTS)["mean"][0], expected, atol=1e-5)
    assert "pooling mean as asked (it names cls), lengths as they are" in encoder.notes[0]


def test_vectors_of_any_model_are_normalised_when_asked(tmp_path: Path) -> None:
    tiny.bert(tmp_path, "BertModel")
    plain, scaled = (load(tmp_path, normalize=wanted).encode(TEXTS)["first-last-avg"] for wanted in (None, True))
    np.testing.assert_allclose(scaled, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)


def test_lengths_and_lower_case_are_those_of_the_directory(tmp_path: Path) -> None:
    theirs = tiny.bert(tmp_path, "BertModel")
    folders.around(tmp_path, pooling=MEAN, length=6, lower_case=True)
    encoder = load(tmp_path)
    assert (encoder.max_length, encoder.lower_case) == (6, True)
    assert "texts of up to 6 tokens" in encoder.notes[0]
    expected = states(theirs, tmp_path, TEXTS[2], max_length=6).mean(0)
    np.testing.assert_allclose(encoder.encode(TEXTS)["mean"][2], expected, atol=1e-5)
    assert load(tmp_path, max_length=9).max_length == 9


def test_prompts_go_before_texts_by_name_and_by_default(tmp_path: Path) -> None:
    theirs = tiny.bert(tmp_path, "BertModel")
    prompts = {"prompts": {"query": "山川", "passage": "", "none": None}, "default_prompt_name": "query"}
    folders.around(tmp_path, pooling=MEAN, prompts=prompts)
    prompted, plain = load(tmp_path), load(tmp_path, prompt_name="")
    vectors = prompted.encode([*TEXTS, "", "  "])["mean"]
    np.testing.assert_allclose(vectors[1], states(theirs, tmp_path, "山川" + TEXTS[1]).mean(0), atol=1e-5)
    assert not vectors[3:].any()
    assert "before every text comes the prompt `山川`" in prompted.notes[1]
    np.testing.assert_allclose(plain.encode(TEXTS)["mean"][1], states(theirs, tmp_path, TEXTS[1]).mean(0), atol=1e-5)
    assert load(tmp_path, prompt_name="passage").prompt == ""
    with pytest.raises(UsageError, match="no prompt `title`") as caught:
        load(tmp_path, prompt_name="title")
    assert "query, passage, none" in str(caught.value.hint)


def test_a_prompt_for_a_model_without_any_is_refused(tmp_path: Path) -> None:
    tiny.bert(tmp_path, "BertModel")
    with pytest.raises(UsageError, match="no prompt `query`"):
        load(tmp_path, prompt_name="query")


def test_a_prompt_that_pooling_leaves_out_is_refused_where_it_would_count(tmp_path: Path) -> None:
    tiny.bert(tmp_path, "BertModel")
    prompts = {"prompts": {"query": "山川"}, "default_prompt_name": "query"}
    folders.around(tmp_path, pooling=MEAN | {"include_prompt": False}, prompts=prompts)
    with pytest.raises(InputError, match="leaves the tokens of the prompt out"):
        load(tmp_path)
    assert load(tmp_path, poolings=("cls",)).prompt == "山川"
    assert load(tmp_path, prompt_name="").prompt == ""


@pytest.mark.parametrize(
    ("pooling", "said"),
    [
        ({"pooling_mode_max_tokens": True}, "its pooling is max,"),
        (MEAN | CLS | {"pooling_mode_mean_tokens": True}, r"its pooling is cls \+ mean,"),
        ({"pooling_mode": "weightedmean"}, "its pooling is weightedmean,"),
        ({}, "its pooling is not named,"),
    ],
)
def test_poolings_without_a_counterpart_are_named_unless_another_is_asked_for(
    tmp_path: Path, pooling: Any, said: str
) -> None:
    tiny.bert(tmp_path, "BertModel")
    folders.around(tmp_path, pooling=pooling)
    with pytest.raises(InputError, match=said) as caught:
        load(tmp_path)
    assert "--pooling" in str(caught.value.hint)
    assert load(tmp_path, poolings=("mean",)).poolings == ("mean",)


@pytest.mark.parametrize("name", ["CNN", "WeightedLayerPooling", "LayerNorm", "custom_st.Transformer"])
def test_modules_without_a_counterpart_are_refused_by_name(tmp_path: Path, name: str) -> None:
    tiny.bert(tmp_path, "BertModel")
    folders.around(tmp_path, pooling=MEAN, others=(name,))
    with pytest.raises(InputError, match=f"no counterpart of the module `{name}`"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"idx": 0, "path": ""}], "not a list of modules"),
        ({"a": 1}, "not a list of modules"),
        ([{"idx": 0, "path": "a\0b", "type": "sentence_transformers.models.Transformer"}], "not a list of modules"),
        ([{"idx": 0, "path": "../..", "type": "sentence_transformers.models.Transformer"}], "outside of the directory"),
        ([{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}], "no Pooling"),
        ([{"idx": 0, "path": "", "type": "sentence_transformers.models.BoW"}], "module `BoW` in place 0"),
    ],
)
def test_broken_lists_of_modules_are_refused(tmp_path: Path, content: Any, said: str) -> None:
    tiny.bert(tmp_path, "BertModel")
    folders.write(tmp_path / "modules.json", content)
    with pytest.raises(InputError, match=said):
        load(tmp_path)


def test_an_activation_without_a_counterpart_is_named(tmp_path: Path) -> None:
    tiny.bert(tmp_path, "BertModel")
    folders.around(tmp_path, pooling=MEAN, dense=(torch.randn(4, 16), None, "torch.nn.modules.activation.Mish"))
    with pytest.raises(InputError, match="the activation Mish"):
        load(tmp_path)


def test_model_and_tokenizer_are_found_in_the_subfolder(tmp_path: Path) -> None:
    tiny.bert(tmp_path, "BertModel")
    folders.around(tmp_path, pooling=MEAN, subfolder=True)
    assert load_model(tmp_path).config.hidden_size == 16
    assert load_tokenizer(tmp_path).vocab_size == len(tiny.VOCAB)


def test_a_whitening_is_folded_behind_the_layers_of_the_directory(tmp_path: Path) -> None:
    tiny.bert(tmp_path / "model", "BertModel")
    folders.around(tmp_path / "model", pooling=MEAN, dense=(torch.randn(4, 16), None, "x.Identity"), subfolder=True)
    vectors = load(tmp_path / "model").encode(
        ["".join(pair) for pair in zip("春夏秋冬山川", "湖海日月星云", strict=True)]
    )
    moments = Moments(4)
    moments.add(vectors["mean"])
    whitening = fit(moments, Choices())
    fold(tmp_path / "model", whitening, pooling="mean", out=tmp_path / "folded")
    again = load(tmp_path / "folded").encode(TEXTS)["mean"]
    np.testing.assert_allclose(again, whitening.apply(load(tmp_path / "model").encode(TEXTS)["mean"]), atol=1e-4)
