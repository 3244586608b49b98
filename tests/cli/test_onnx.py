"""`nlpx convert --to onnx` and the commands that run its directory: the same vectors; the others say what it is."""

from __future__ import annotations

import json
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from nlpx.embed import windows
from nlpx.embed.encoder import SentenceEncoder

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs the extra `onnx`")

LINES = [row["source"] for row in tiny.rows(50)]
WHAT_IT_IS = (
    "Error: graph: an ONNX graph, which only embed, similar and evaluate sts run\n"
    "  for everything else, name the checkpoint it was converted from\n"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint and what was converted from it."""
    from nlpx.jobs.convert import convert

    folder = tmp_path_factory.mktemp("folders")
    tiny.bert(folder / "model", "BertModel")
    convert(str(folder / "model"), folder / "graph", to="onnx")
    return folder


@pytest.fixture(autouse=True)
def _beside_both(folders, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(windows, "WINDOW_TEXTS", 20)
    shutil.copytree(folders, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    tiny.write_rows(Path("texts.txt"), LINES)


def embedded(nlpx, model, *more):
    words = ("embed", "texts.txt", "--model", model, "--precision", "float32", "-o", f"{model}.npy", *more)
    assert nlpx(*words, "--quiet").code == 0
    return np.load(f"{model}.npy")


def test_a_directory_that_stands_alone(nlpx):
    outcome = nlpx("convert", "model", "small", "--to", "onnx", "--dtype", "int8", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    written = json.loads(outcome.out)
    assert (written["format"], written["family"], written["heads"]) == ("onnx", "bert", [])
    expected = embedded(nlpx, "model")
    shutil.rmtree("model")
    assert {path.name for path in Path("small").iterdir()} == {path.name for path in Path("graph").iterdir()}
    assert {"model.onnx", "config.json", "vocab.txt"} <= {path.name for path in Path("small").iterdir()}
    facts = json.loads(nlpx("embed", "texts.txt", "--model", "small", "-o", "e.npy", "--json").out)
    assert (facts["precision"], facts["device"], facts["max_length"]) == ("int8", "cpu", 24)
    products = (np.load("e.npy") * expected).sum(1)
    assert (products / np.linalg.norm(np.load("e.npy"), axis=1) / np.linalg.norm(expected, axis=1)).min() > 0.98


def test_nothing_but_notes_is_said(nlpx):
    outcome = nlpx("convert", "model", "graph", "--to", "onnx", "--overwrite")
    assert outcome == (0, "graph\n", "family bert, heads: none, tokenizer: char\n")


@pytest.mark.parametrize("pooling", ["first-last-avg", "mean", "cls", "pooler"])
def test_vectors_are_those_of_the_checkpoint(nlpx, pooling):
    expected = embedded(nlpx, "model", "--pooling", pooling)
    np.testing.assert_allclose(embedded(nlpx, "graph", "--pooling", pooling), expected, atol=1e-5)


def test_shards_are_the_single_file(nlpx):
    whole = embedded(nlpx, "graph")
    outcome = nlpx("embed", "texts.txt", "--model", "graph", "--shard", "30", "-o", "s.npy", "--quiet")
    parts = [np.load(path) for path in outcome.out.split()]
    assert [len(part) for part in parts] == [30, 20]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_after_ctrl_c_the_same_command_goes_on(nlpx, monkeypatch):
    whole = embedded(nlpx, "graph")
    words, encode, calls = ("embed", "texts.txt", "--model", "graph", "-o", "e.npy"), SentenceEncoder.encode, []

    def interrupted(self, texts):
        calls.append(texts)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(self, texts)

    with monkeypatch.context() as patch:
        patch.setattr(SentenceEncoder, "encode", interrupted)
        assert nlpx(*words).code == 130
    outcome = nlpx(*words)
    assert outcome.code == 0
    assert "20 texts had been embedded before" in outcome.err
    assert np.load("e.npy").tobytes() == whole.tobytes()


def test_similar_and_evaluate(nlpx, monkeypatch):
    monkeypatch.setattr("nlpx.train.precision._bfloat16_hardware", lambda _: None)  # else the checkpoint is rounded
    tiny.write_rows(Path("pairs.tsv"), [f"{one}\t{two}\t{n % 2}" for n, (one, two) in enumerate(pairwise(LINES))])
    for command in (("similar", "score", "pairs.tsv"), ("evaluate", "sts", "pairs.tsv", "--json")):
        ours, theirs = (nlpx(*command, "--model", name) for name in ("graph", "model"))
        assert (ours.code, theirs.code) == (0, 0)
        found, expected = (
            [float(number) for number in re.findall(r"-?\d+\.\d+", outcome.out)] for outcome in (ours, theirs)
        )
        assert len(found) == len(expected) > 40
        np.testing.assert_allclose(found, expected, atol=1e-2)  # ranks of equal scores may fall either way


def test_a_folded_whitening_travels(nlpx):
    tiny.write_rows(Path("texts.txt"), [row["source"] for row in tiny.rows(400)])
    embedded(nlpx, "model")
    assert nlpx("whiten", "model.npy", "--fold", "model", "-o", "white", "--dim", "8", "--quiet").code == 0
    assert nlpx("convert", "white", "whitegraph", "--to", "onnx", "--quiet").code == 0
    expected = embedded(nlpx, "white")
    assert expected.shape == (400, 8)
    np.testing.assert_allclose(embedded(nlpx, "whitegraph"), expected, atol=1e-3)  # the map enlarges differences


REFUSED = {
    "finetune": ("finetune", "--data", "rows.jsonl", "--model", "graph", "--out", "run"),
    "pretrain": ("pretrain", "texts.txt", "--model", "graph", "--out", "run"),
    "sample": ("sample", "--model", "graph"),
    "cost": ("inspect", "--cost", "graph"),
    "convert": ("convert", "graph", "back"),
    "mlm": ("evaluate", "mlm", "graph", "texts.txt"),
    "fold": ("whiten", "emb.npy", "--fold", "graph", "-o", "white"),
    "file": ("embed", "texts.txt", "--model", "graph/model.onnx", "-o", "e.npy"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_commands_say_what_it_is(nlpx, name):
    tiny.write_rows(Path("rows.jsonl"), tiny.rows(40))
    np.save("emb.npy", np.random.default_rng(0).normal(size=(400, 16)).astype("f4"))
    outcome = nlpx(*REFUSED[name])
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.endswith(WHAT_IT_IS)


def test_inspect_describes_it(nlpx):
    outcome = nlpx("inspect", "graph")
    assert (outcome.code, outcome.err) == (0, "")
    expected = "family      bert (an ONNX graph in float32, written by nlpx for embed, similar and evaluate sts)\n"
    assert outcome.out.startswith(expected)
    facts = json.loads(nlpx("inspect", "graph", "--json").out)
    assert (facts["layout"], facts["stored_dtypes"], facts["max_length"]) == ("onnx", ["float32"], 24)
    assert facts["parameters"] == json.loads(nlpx("inspect", "model", "--json").out)["encoder_parameters"] + 16 * 17
    assert facts["warnings"] == []


def test_a_cut_graph(nlpx):
    graph = Path("graph/model.onnx")
    graph.write_bytes(graph.read_bytes()[:3000])
    outcome = nlpx("embed", "texts.txt", "--model", "graph", "-o", "e.npy")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith("Error: graph/model.onnx: truncated or not an ONNX file (")
    assert outcome.err.count("\n") == 2
    assert not Path("e.npy.parts").exists()


def test_another_precision(nlpx):
    outcome = nlpx("embed", "texts.txt", "--model", "graph", "--precision", "bfloat16", "-o", "e.npy")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Error: graph: an ONNX graph in float32, not in bfloat16\n")


def test_without_the_extra(nlpx, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    outcome = nlpx("embed", "texts.txt", "--model", "graph", "-o", "e.npy")
    assert outcome == (4, "", "Error: running ONNX needs the extra `onnx`\n  pip install 'nlpx-zh[onnx]'\n")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    outcome = nlpx("convert", "model", "other", "--to", "onnx")
    assert outcome == (4, "", "Error: writing ONNX needs the extra `onnx`\n  pip install 'nlpx-zh[onnx]'\n")
    assert not Path("other").exists()
