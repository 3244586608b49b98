from dataclasses import replace

import numpy as np
import pytest

import tiny
from nlpx.embed.folded import NAME, fold, folded
from nlpx.embed.moments import Moments
from nlpx.embed.whitening import Choices, fit
from nlpx.errors import InputError, UsageError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.bert(folder)
    return folder


def whitening(columns=16, **choices):
    rows = np.random.default_rng(0).normal(size=(400, columns)) + 2
    moments = Moments(columns)
    moments.add(rows)
    return fit(moments, Choices(**choices))


def test_a_folded_model_is_the_model_and_one_more_file(model, tmp_path):
    made = whitening(dim=5)
    assert fold(model, made, pooling="cls", out=tmp_path / "out") == tmp_path / "out"
    names = {path.name for path in model.iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} - {"whitening.json"} == names | {NAME}
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()
    found = folded(tmp_path / "out", ["cls"])
    rows = np.random.default_rng(1).normal(size=(3, 16))
    assert np.array_equal(found.apply(rows), made.apply(rows))
    assert found.pooling == "cls"
    assert folded(model) is None
    with pytest.raises(UsageError, match="for the pooling cls, not mean"):
        folded(tmp_path / "out", ["cls", "mean"])


def test_what_cannot_be_folded(model, tmp_path):
    with pytest.raises(InputError, match="its vectors have 16 numbers; the map takes 4"):
        fold(model, whitening(4), pooling="cls", out=tmp_path / "out")
    with pytest.raises(InputError, match="no such file or directory"):
        fold(tmp_path / "nowhere" / "at" / "all", whitening(), pooling="cls", out=tmp_path / "out")
    with pytest.raises(InputError, match="a file"):
        fold(model / "model.safetensors", whitening(), pooling="cls", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="exists already"):
        fold(model, whitening(), pooling="cls", out=model)
    fold(model, replace(whitening(), pooling="mean"), pooling="cls", out=tmp_path / "out")
    with pytest.raises(InputError, match="has a whitening already"):
        fold(tmp_path / "out", whitening(), pooling="cls", out=tmp_path / "again")


def test_other_encoders(tmp_path):
    tiny.checkpoint(tmp_path / "other", "XLMRobertaConfig", "XLMRobertaModel")
    fold(tmp_path / "other", whitening(), pooling="mean", out=tmp_path / "out")
    assert folded(tmp_path / "out").dim == 16
