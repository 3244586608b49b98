"""ONNX graphs against the models they were made of, at other sizes than they were traced with; what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from nlpx import bundled
from nlpx.embed import onnx_export
from nlpx.embed.encoder import SentenceEncoder
from nlpx.embed.onnx_export import export_onnx
from nlpx.embed.onnx_model import GRAPH, OnnxModel, is_onnx, read_facts
from nlpx.embed.pooling import POOLINGS
from nlpx.errors import InputError, MachineError, UsageError
from nlpx.models.checkpoints.load import load_model
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.load import load_tokenizer
from nlpx.tokenizers.vocab import Vocab

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
pytest.importorskip("onnxscript", reason="needs the extra `onnx`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

TOKENIZER = CharTokenizer(Vocab(tiny.VOCAB))
SENTENCES = [
    "今天的天气真不错",
    "明天也许会下雨，记得带伞",
    "这家店的面条很好吃",
    "他在图书馆看了一下午的书",
    "火车晚点了两个小时",
]

# Parts that a graph computes differently: how positions enter, what layers share, and what rows may see.
KINDS = {
    "bert": {"max_position_embeddings": 24, "pooler": "tanh"},
    "roformer": {"position": "rotary", "norm": "rms", "norm_scale": False, "feed_forward": "gated"},
    "albert": {"share_layers": "all", "embedding_size": 8, "num_layers": 3},
    "nezha": {"position": "relative", "type_vocab_size": 0},
    "t5": {
        "position": "bucketed",
        "type_vocab_size": 0,
        "norm": "rms",
        "norm_place": "pre",
        "embedding_norm": False,
        "use_bias": False,
        "attention_scale": "none",
    },
    "hierarchical": {"position": "hierarchical", "max_position_embeddings": 12},
    "causal": {
        "mask": "causal",
        "attention_scale": "entropy_invariant",
        "residual_scores": "mean",
        "norm_place": "pre",
    },
}
NUM_POSITIONS = {
    "bert": 24,
    "roformer": 2048,
    "albert": 512,
    "nezha": None,
    "t5": None,
    "hierarchical": 144,
    "causal": 512,
}


def transformer(kind, **choices):
    """A small model whose every weight is random."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    model = Transformer(ModelConfig(**({"vocab_size": len(tiny.VOCAB)} | sizes | KINDS[kind] | choices)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.eval()


@pytest.fixture(scope="module")
def graph_of(tmp_path_factory):
    """The graph of a kind, made when first asked for: a second or two each."""
    made = {}

    def graph(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            export_onnx(transformer(kind), made[kind])
        return made[kind]

    return graph


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The shipped model as graphs of both types."""
    folders = {}
    for dtype in ("float32", "int8"):
        folders[dtype] = tmp_path_factory.mktemp(dtype)
        export_onnx(load_model("char-tiny"), folders[dtype], dtype=dtype)
        load_tokenizer(bundled.path("char-tiny")).save(folders[dtype])
    return folders


def cosines(ours, theirs):
    return (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_states_at_any_size_are_those_of_the_model(graph_of, kind):
    graph, model = OnnxModel(graph_of(kind)), transformer(kind)
    longest = NUM_POSITIONS[kind] or 300
    for num_rows, length in ((1, 2), (2, 3), (3, 7), (5, 23), (1, min(longest, 300))):
        ids = torch.randint(0, len(tiny.VOCAB), (num_rows, length))
        mask = torch.arange(length)[None] < torch.randint(1, length + 1, (num_rows, 1))
        with torch.no_grad():
            expected = model(ids, attention_mask=mask, mask=model.config.mask, return_hidden_states=True)
        found = graph(ids, attention_mask=None if mask.all() else mask)
        for ours, theirs in (
            (found.last_hidden_state, expected.last_hidden_state),
            (found.hidden_states[0], expected.hidden_states[0]),
        ):
            assert theirs[mask].abs().max() > 0.1
            assert (ours - theirs)[mask].abs().max() < 1e-5, (num_rows, length)
        assert (graph.has_pooler, found.pooled is not None) == (kind == "bert", kind == "bert")


def test_every_pooling_is_that_of_the_model(graph_of):
    settings = {"poolings": POOLINGS, "precision": "float32", "batch_tokens": 40}
    texts = ["".join(tiny.CHARACTERS[:length]) for length in (5, 1, 0, 19, 28, 3)]  # one empty, one too long
    ours = SentenceEncoder(OnnxModel(graph_of("bert")), TOKENIZER, **settings)
    theirs = SentenceEncoder(transformer("bert"), TOKENIZER, **settings)
    assert ours.max_length == theirs.max_length == 24
    found, expected = ours.encode(texts), theirs.encode(texts)
    for pooling in POOLINGS:
        assert not found[pooling][2].any()
        assert np.abs(expected[pooling]).max() > 0.1
        np.testing.assert_allclose(found[pooling], expected[pooling], atol=1e-5)
    with pytest.raises(InputError, match="has no pooler"):
        SentenceEncoder(OnnxModel(graph_of("albert")), TOKENIZER, poolings=("pooler",))
    with pytest.raises(InputError, match="reads from left to right"):
        SentenceEncoder(OnnxModel(graph_of("causal")), TOKENIZER, poolings=("cls",))


@pytest.mark.parametrize("kind", KINDS)
def test_how_many_tokens_a_graph_can_place(graph_of, kind):
    assert read_facts(graph_of(kind))[2] == NUM_POSITIONS[kind]
    expected = min(4096, NUM_POSITIONS[kind] or 4096)
    assert SentenceEncoder(OnnxModel(graph_of(kind)), TOKENIZER, max_length=4096).max_length == expected


def test_the_shipped_model(shipped):
    expected = SentenceEncoder.load("char-tiny", precision="float32", device="cpu").encode(SENTENCES)["first-last-avg"]
    encoders = {dtype: SentenceEncoder.load(folder) for dtype, folder in shipped.items()}
    found = {dtype: encoder.encode(SENTENCES)["first-last-avg"] for dtype, encoder in encoders.items()}
    assert {dtype: encoder.precision for dtype, encoder in encoders.items()} == {"float32": "float32", "int8": "int8"}
    np.testing.assert_allclose(found["float32"], expected, atol=1e-5)
    assert cosines(found["int8"], expected).min() > 0.98
    assert np.abs(found["int8"] - expected).max() > 1e-5  # rounded, and not the other graph again
    sizes = {dtype: (folder / GRAPH).stat().st_size for dtype, folder in shipped.items()}
    assert sizes["int8"] < 0.7 * sizes["float32"]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_graph_says_nothing_of_the_machine_that_wrote_it(shipped, dtype):
    content = (shipped[dtype] / GRAPH).read_bytes()
    for mark in (b"stack_trace", b"transformer.py", str(Path(__file__).parent.parent).encode()):
        assert mark not in content
    onnx.checker.check_model(onnx.load_from_string(content))


def test_threads_are_those_of_torch(graph_of):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert OnnxModel(graph_of("bert")).session.get_session_options().intra_op_num_threads == 3
    finally:
        torch.set_num_threads(before)


def test_a_graph_has_one_precision(graph_of):
    folder = graph_of("bert")
    assert is_onnx(folder)
    assert not is_onnx(folder / GRAPH)
    assert not is_onnx(bundled.path("char-tiny"))
    assert OnnxModel.load(folder, precision="float32").precision == "float32"
    with pytest.raises(UsageError, match="an ONNX graph in float32, not in bfloat16"):
        OnnxModel.load(folder, precision="bfloat16")


def foreign(path):
    """A sound graph that is no encoder."""
    kind = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, kind, [2]) for name in ("x", "y")]
    nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "foreign", ends[:1], ends[1:])
    opset = onnx.helper.make_opsetid("", 17)
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString())


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def changed(*, config=None, **facts):
    def change(path):
        file = path.with_name("config.json")
        content = json.loads(file.read_text(encoding="utf-8"))
        content |= {"config": content["config"] | (config or {})} | facts
        file.write_text(json.dumps(content), encoding="utf-8")

    return change


DAMAGE = {
    "cut": (cut, "model.onnx: truncated or not an ONNX file"),
    "text": (lambda path: path.write_text("山川湖海", encoding="utf-8"), "truncated or not an ONNX file"),
    "empty": (lambda path: path.write_bytes(b""), "model.onnx: "),
    "foreign": (foreign, "not the graph that nlpx wrote with config.json"),
    "missing": (Path.unlink, "model.onnx: no such file"),
    "other-width": (changed(config={"hidden_size": 64}), "not the graph that nlpx wrote with config.json"),
    "a-list": (changed(dtype=None, num_positions=[]), "config.json: not as nlpx wrote it"),
    "unknown-part": (changed(config={"norm": "batch"}), "config.json: not as nlpx wrote it"),
    "no-number": (changed(num_positions="many"), "config.json: not as nlpx wrote it"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_graph_that_is_not_as_it_was_written(graph_of, tmp_path, name):
    damage, message = DAMAGE[name]
    shutil.copytree(graph_of("bert"), tmp_path / "graph")
    damage(tmp_path / "graph" / GRAPH)
    with pytest.raises(InputError, match=message) as error:
        OnnxModel(tmp_path / "graph")
    assert "\n" not in error.value.message


def test_ids_beyond_the_word_table(graph_of):
    with pytest.raises(InputError, match="ONNX Runtime cannot compute it") as error:
        OnnxModel(graph_of("bert"))(torch.tensor([[len(tiny.VOCAB)]]))
    assert "\n" not in error.value.message


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime.quantization"])
def test_writing_without_the_extra(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MachineError, match="writing ONNX needs the extra `onnx`") as error:
        export_onnx(transformer("bert"), tmp_path, dtype="int8")
    assert error.value.hint == "pip install 'nlpx-zh[onnx]'"
    assert not list(tmp_path.iterdir())


def test_running_without_the_extra(graph_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MachineError, match="running ONNX needs the extra `onnx`") as error:
        OnnxModel(graph_of("bert"))
    assert error.value.hint == "pip install 'nlpx-zh[onnx]'"


def test_what_no_graph_can_hold(tmp_path, monkeypatch):
    performer = transformer("bert", attention="performer", performer_features=8)
    with pytest.raises(InputError, match="attention `performer` has no counterpart in an ONNX graph"):
        export_onnx(performer, tmp_path)
    monkeypatch.setattr(onnx_export, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="weights do not fit into"):
        export_onnx(transformer("bert"), tmp_path)
    assert not list(tmp_path.iterdir())
