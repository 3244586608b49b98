"""`nlpx inspect`: what a checkpoint is, and the sentences about what is known to go wrong with published ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tf_bundle_writer
import tiny
from nlpx.models.checkpoints.tf_checkpoint import TFCheckpoint

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "bert4keras"
KEYS = {
    *("path", "family", "reason", "layout", "parameters", "encoder_parameters", "stored_tensors", "stored_dtypes"),
    *("config", "used", "missing", "unexpected", "ignored", "reshaped", "tokenizer", "warnings"),
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def facts(nlpx):
    def read(*words: str) -> dict[str, Any]:
        outcome = nlpx("inspect", *words, "--json")
        assert (outcome.code, outcome.err) == (0, "")
        return json.loads(outcome.out)

    return read


def change_config(folder: str, **changes: Any) -> None:
    file = Path(folder, "config.json")
    config = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}), encoding="utf-8")


GPT = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}
MODELS = {
    "bert": ("BertConfig", "BertForPreTraining", {}, ["lm", "sentence"], "learned"),
    "roformer": ("RoFormerConfig", "RoFormerForMaskedLM", {"embedding_size": 8}, ["lm"], "rotary"),
    "albert": ("AlbertConfig", "AlbertForMaskedLM", {"embedding_size": 8}, ["lm"], "learned"),
    "electra": ("ElectraConfig", "ElectraForPreTraining", {"embedding_size": 8}, ["discriminator"], "learned"),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT, ["lm"], "learned"),
}


@pytest.mark.parametrize("family", MODELS)
def test_transformers_checkpoints(facts, family):
    config, model, sizes, heads, position = MODELS[family]
    made = tiny.checkpoint(Path(family), config, model, **sizes)
    found = facts(family)
    assert set(found) == KEYS
    assert (found["family"], found["reason"]) == (family, f"config.json says model_type {family}")
    assert (found["config"]["heads"], found["config"]["position"]) == (heads, position)
    assert (found["missing"], found["unexpected"], found["reshaped"]) == ([], [], {})
    trained = sum(p.numel() for p in made.parameters() if p.requires_grad)
    assert found["parameters"] == trained
    assert found["stored_dtypes"] == ["F32"]
    stored = set(load_file(Path(family) / "model.safetensors"))
    assert {name for names in found["used"].values() for name in names} | set(found["ignored"]) == stored
    assert found["tokenizer"]["kind"] == "char"
    assert found["tokenizer"]["special_tokens"] == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}


@pytest.mark.parametrize("name", ["bert", "bert_key_size", "albert", "electra", "roformer_v2"])
def test_tensorflow_bundles(facts, name):
    found = facts(str(FIXTURES / name))
    assert (found["family"], found["layout"]) == (name.removesuffix("_key_size"), "tensorflow")
    assert (found["missing"], found["unexpected"], found["stored_dtypes"]) == ([], [], ["float32"])
    assert found["stored_tensors"] == len(TFCheckpoint(FIXTURES / name / "bert_model.ckpt").names())


@pytest.mark.parametrize("name", ["roformer", "nezha"])
def test_a_bundle_that_may_be_two_families(nlpx, facts, name):
    outcome = nlpx("inspect", str(FIXTURES / name))
    assert outcome == (
        3, "", f"Error: {FIXTURES / name}: neither the configuration nor the variables tell whether this is nezha, "
        "roformer\n  --family nezha or --family roformer\n",
    )  # fmt: skip
    found = facts(str(FIXTURES / name), "--family", name)
    assert (found["family"], found["reason"]) == (name, "chosen by --family")
    assert (found["missing"], found["unexpected"]) == ([], [])


def test_one_of_our_own(nlpx, facts):
    tiny.bert(Path("bert"))
    assert nlpx("convert", "bert", "own", "--to", "nlpx", "--set", "position=hierarchical").code == 0
    found = facts("own")
    assert (found["family"], found["reason"]) == ("bert", "saved by nlpx")
    assert found["config"]["position"] == "hierarchical"
    assert (found["missing"], found["unexpected"], found["warnings"]) == ([], [], [])


def test_an_encoder_of_transformers(facts):
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    made = tiny.checkpoint(Path("other"), "DistilBertConfig", "DistilBertModel", **sizes)
    found = facts("other")
    assert found["family"] is None
    assert found["reason"] == "model_type distilbert is none of nlpx's families; it loads through transformers"
    assert found["parameters"] == sum(parameter.numel() for parameter in made.parameters())


def test_as_text(nlpx):
    tiny.bert(Path("bert"), "BertModel")
    outcome = nlpx("inspect", "bert")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "family      bert (config.json says model_type bert)"
    assert lines[1].startswith("parameters  ")
    assert lines[1].endswith(" without heads)")
    assert lines[3] == "stored      39 tensors, F32, torch"
    assert lines[4] == "loading     31 used, 0 missing, 0 unexpected, 0 reshaped"
    assert "  position: learned" in lines
    assert lines[-1].startswith("warning: no language-model head is stored")
    listing = nlpx("inspect", "bert", "--tensors").out
    part = "bert.encoder.layer.1.attention.self"
    assert (
        "  used: layers.1.attention.query_key_value.weight <- "
        + ", ".join(f"{part.removeprefix('bert.')}.{name}.weight" for name in ("query", "key", "value"))
        in listing
    )


# --- the traps


def test_roformer_v2_under_a_v1_configuration(facts):
    """The tensors of the V2 bundle under the names and the `model_type` that the ports to torch give them."""
    shutil.copytree(FIXTURES / "roformer_v2", "v2")
    bundle, tensors = TFCheckpoint(Path("v2/bert_model.ckpt")), {}
    for name in bundle.names():
        array = torch.from_numpy(bundle.read(name).copy())
        theirs = name.replace("bert/", "roformer.", 1).replace("layer_", "layer.").replace("/", ".")
        is_kernel = theirs.endswith(".kernel")
        tensors[theirs.removesuffix(".kernel") + ".weight"] = array.T.contiguous() if is_kernel else array
    save_file(tensors, "v2/model.safetensors")
    config = json.loads(Path("v2/bert_config.json").read_text(encoding="utf-8"))
    Path("v2/config.json").write_text(json.dumps(config | {"model_type": "roformer"}), encoding="utf-8")
    found = facts("v2")
    assert (found["family"], found["reason"]) == ("roformer_v2", "its layers have no biases and no norm scales")
    assert (found["missing"], found["unexpected"]) == ([], [])
    assert (
        "config.json says roformer, the tensors are RoFormerV2 (no biases, no norm scales): loaded as roformer_v2"
        in found["warnings"]
    )


def test_a_word_vocabulary_under_bert(facts):
    words = ["春天", "夏天", "秋天", "冬天", "山川", "日月"]
    tiny.bert(Path("wobert"), vocab_size=len(tiny.VOCAB) + 6, vocab=[*tiny.VOCAB, *words])
    found = facts("wobert")
    assert found["tokenizer"]["kind"] == "word"
    assert found["warnings"] == [
        "a word-level vocabulary under model_type bert (WoBERT): transformers would split its words"
    ]


def test_a_roberta_that_is_bert(facts):
    tiny.bert(Path("chinese-RoBERTa-wwm"))
    assert facts("chinese-RoBERTa-wwm")["warnings"] == [
        "the name says RoBERTa, the architecture is BERT: loaded as bert, positions start at 0"
    ]


def test_a_real_roberta_is_none_of_ours(facts):
    tiny.checkpoint(Path("roberta"), "RobertaConfig", "RobertaModel")
    found = facts("roberta")
    assert (found["family"], found["warnings"]) == (None, [])


def test_heads(facts):
    tiny.bert(Path("none"), "BertModel")
    assert facts("none")["warnings"] == [
        "no language-model head is stored: this checkpoint embeds and fine-tunes, it cannot fill masks"
    ]
    tiny.bert(Path("tied"))
    assert facts("tied")["warnings"] == []
    tiny.bert(Path("untied"), tie_word_embeddings=False)
    found = facts("untied")
    assert found["config"]["tie_word_embeddings"] is False
    assert found["warnings"] == [
        "the vocabulary product has a matrix of its own that differs from the word table: it is loaded untied"
    ]


def test_what_the_configuration_says_of_ties_is_not_believed(facts):
    tiny.bert(Path("untied"), tie_word_embeddings=False)
    change_config("untied", tie_word_embeddings=True)
    assert facts("untied")["config"]["tie_word_embeddings"] is False


def test_a_key_size_of_its_own(facts):
    found = facts(str(FIXTURES / "bert_key_size"))
    assert (found["config"]["key_size"], found["config"]["head_size"]) == (8, 12)
    assert "key size 8 is not hidden / heads = 12: transformers cannot hold this model" in found["warnings"]


def test_vocabularies_that_do_not_fit(facts):
    count = len(tiny.VOCAB)
    tiny.bert(Path("more"), vocab_size=20)
    assert facts("more")["warnings"] == [
        f"the vocabulary has {count} entries but the word table 20 rows: ids beyond it crash; use its own vocab.txt"
    ]
    tiny.bert(Path("less"), vocab_size=60)
    assert facts("less")["warnings"] == [
        f"the vocabulary has {count} entries, the word table 60 rows: the rest is never used"
    ]
    tiny.bert(Path("none"))
    Path("none/vocab.txt").unlink()
    found = facts("none")
    assert found["tokenizer"]["kind"] is None
    assert found["warnings"] == ["no tokenizer here: pass the directory of its own"]


# --- what is missing, unexpected, or no checkpoint at all


def test_missing_and_left_over_tensors(facts, nlpx):
    tiny.bert(Path("bert"))
    tensors = load_file("bert/model.safetensors")
    gone = "bert.encoder.layer.1.output.LayerNorm.weight"
    del tensors[gone]
    save_file(tensors | {"extra.weight": torch.zeros(3)}, "bert/model.safetensors")
    found = facts("bert")
    assert (found["missing"], found["unexpected"]) == (["layers.1.feed_forward_norm.weight"], ["extra.weight"])
    text = nlpx("inspect", "bert").out
    assert "  missing: layers.1.feed_forward_norm.weight\n" in text
    assert "  unexpected: extra.weight\n" in text


def test_a_configuration_without_a_family(facts):
    tiny.bert(Path("bert"))
    change_config("bert", model_type=None, architectures=None)
    found = facts("bert")
    assert (found["family"], found["reason"]) == ("bert", "a learned position table under BERT's names")


REFUSED = {
    "no-config": "Error: bad: no configuration beside the weights\n"
    "  expected one of config.json, bert_config.json, albert_config.json, electra_config.json\n",
    "config-no-json": "Error: bad/config.json:1:2: not JSON: Expecting property name enclosed in double quotes\n",
    "config-list": "Error: bad/config.json: expected one JSON object, found list\n",
    "no-sizes": "Error: bad: the configuration lacks hidden_size\n",
    "activation": "Error: bad: unknown hidden_act `swoosh` in the configuration\n",
    "wrong-shape": "Error: bad: tensor `bert.embeddings.LayerNorm.weight` has shape (15), but the configuration asks "
    "for (16) (embeddings.norm.weight)\n"
    "  the configuration and the weights are of different models, or a size in it is wrong\n",
    "heads": "Error: bad: the configuration is not usable: num_layers: Input should be a valid integer\n",
}


def spoil(name: str) -> None:
    config, weights = Path("bad/config.json"), Path("bad/model.safetensors")
    if name == "no-config":
        config.unlink()
    elif name == "config-no-json":
        config.write_text("{'a'", encoding="utf-8")
    elif name == "config-list":
        config.write_text("[]", encoding="utf-8")
    elif name == "no-sizes":
        change_config("bad", hidden_size=None)
    elif name == "activation":
        change_config("bad", hidden_act="swoosh")
    elif name == "wrong-shape":
        save_file(load_file(weights) | {"bert.embeddings.LayerNorm.weight": torch.zeros(15)}, weights)


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "heads"])
def test_refused(nlpx, name):
    tiny.bert(Path("bad"))
    spoil(name)
    assert nlpx("inspect", "bad") == (3, "", REFUSED[name])


def test_truncated_weights(nlpx):
    tiny.bert(Path("bert"))
    file = Path("bert/model.safetensors")
    whole = file.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        outcome = nlpx("inspect", "bert")
        assert (outcome.code, outcome.out) == (3, "")
        assert outcome.err.startswith(f"Error: {file}: truncated or not a safetensors file")
        assert outcome.err.endswith("\n  copy or download it again\n")


def test_a_truncated_bundle_names_the_tensor(nlpx):
    shutil.copytree(FIXTURES / "bert", "bundle")
    data = Path("bundle/bert_model.ckpt.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-200])
    outcome = nlpx("inspect", "bundle")
    assert (outcome.code, outcome.out) == (3, "")
    assert "cls/" in outcome.err or "bert/" in outcome.err
    flipped = bytearray((FIXTURES / "bert" / data.name).read_bytes())
    flipped[40] ^= 1
    data.write_bytes(flipped)
    outcome = nlpx("inspect", "bundle")
    assert (outcome.code, outcome.out) == (3, "")
    assert "bert/embeddings/LayerNorm/beta" in outcome.err


def test_a_bundle_without_electras_type_vocab_size(facts):
    shutil.copytree(FIXTURES / "electra", "electra")
    file = Path("electra/bert_config.json")
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("type_vocab_size")
    file.write_text(json.dumps(config), encoding="utf-8")
    assert facts("electra")["config"]["type_vocab_size"] == 2


def test_optimizer_slots_are_no_weights(facts):
    bundle = TFCheckpoint(FIXTURES / "bert" / "bert_model.ckpt")
    tensors = {name: bundle.read(name) for name in bundle.names()}
    slots = {f"{name}/adam_m": np.zeros_like(array) for name, array in tensors.items()}
    Path("slots").mkdir()
    shutil.copy(FIXTURES / "bert" / "bert_config.json", "slots")
    tf_bundle_writer.write_bundle(Path("slots/model.ckpt"), tensors | slots | {"global_step": np.array(7)})
    assert facts("slots")["unexpected"] == []


class _Runs:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_pickle_with_code_is_refused_and_not_run(nlpx):
    tiny.bert(Path("bert"))
    tensors = load_file("bert/model.safetensors")
    Path("bert/model.safetensors").unlink()
    for is_zip in (True, False):
        torch.save(tensors | {"x": _Runs()}, "bert/pytorch_model.bin", _use_new_zipfile_serialization=is_zip)
        assert nlpx("inspect", "bert") == (
            3, "", "Error: bert/pytorch_model.bin: holds more than plain weights, and nlpx runs no code from a "
            "checkpoint\n  convert it to safetensors where you trust it, and load that\n",
        )  # fmt: skip
        assert not Path("executed").exists()
    torch.save(torch.nn.Linear(2, 2).state_dict() | {"step": 3}, "bert/pytorch_model.bin")
    outcome = nlpx("inspect", "bert")
    assert (outcome.code, outcome.out) == (3, "")
    assert "expected a table of named tensors" in outcome.err


@pytest.mark.parametrize("is_zip", [True, False])
def test_plain_pytorch_files(facts, is_zip):
    tiny.bert(Path("bert"))
    before = facts("bert")
    tensors = load_file("bert/model.safetensors")
    Path("bert/model.safetensors").unlink()
    torch.save(tensors, "bert/pytorch_model.bin", _use_new_zipfile_serialization=is_zip)
    after = facts("bert")
    assert {**after, "stored_dtypes": None} == {**before, "stored_dtypes": None}


def test_a_truncated_pytorch_file(nlpx):
    tiny.bert(Path("bert"))
    torch.save(load_file("bert/model.safetensors"), "bert/pytorch_model.bin")
    Path("bert/model.safetensors").unlink()
    whole = Path("bert/pytorch_model.bin").read_bytes()
    for size in (0, 3, 100, len(whole) // 2):
        Path("bert/pytorch_model.bin").write_bytes(whole[:size])
        outcome = nlpx("inspect", "bert")
        assert (outcome.code, outcome.out) == (3, "")
        assert outcome.err.startswith("Error: bert/pytorch_model.bin: ")
        assert outcome.err.count("\n") == 2


def test_shards(facts, nlpx):
    made = tiny.bert(Path("bert"))
    before = facts("bert")
    shutil.rmtree("bert")
    made.save_pretrained("bert", max_shard_size="4KB")
    tiny.write_vocab(Path("bert"))
    shards = sorted(Path("bert").glob("*.safetensors"))
    assert len(shards) > 2
    assert facts("bert") == before
    shards[1].unlink()
    outcome = nlpx("inspect", "bert")
    assert outcome == (
        3, "", f"Error: {shards[1]}: shard is missing\n"
        "  model.safetensors.index.json lists it; download the checkpoint again\n",
    )  # fmt: skip


def test_what_is_not_there(nlpx):
    hint = "  give a checkpoint directory, or a hub name like org/model\n"
    assert nlpx("inspect", "./none") == (3, "", f"Error: ./none: no such file or directory\n{hint}")
    Path("empty").mkdir()
    assert nlpx("inspect", "empty").code == 3
    tiny.bert(Path("bert"))
    outcome = nlpx("inspect", "bert", "--family", "brt")
    assert (outcome.code, outcome.out) == (2, "")
    assert "unknown family `brt`" in outcome.err
    outcome = nlpx("inspect", "./none", "--json")
    assert (outcome.out, json.loads(outcome.err)["exit"]) == ("", 3)


def test_a_file_that_is_no_checkpoint(nlpx):
    tiny.bert(Path("bert"))
    Path("bert/model.safetensors").unlink()
    Path("bert/pytorch_model.bin").write_bytes(b"hello, this is no checkpoint")
    outcome = nlpx("inspect", "bert")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith("Error: bert/pytorch_model.bin: truncated or not a PyTorch file (")


# --- the cost card


def test_the_cost_card(nlpx):
    sizes = {"embedding_size": 8, "num_hidden_layers": 4}
    tiny.checkpoint(Path("albert"), "AlbertConfig", "AlbertForMaskedLM", **sizes)
    outcome = nlpx("inspect", "--cost", "albert", "--length", "12", "--device", "cpu")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["cost", "this", "BERT", "of", "its", "shape", "ratio"]
    assert [line.split("  ")[0] for line in lines[1:6]] == ["parameters", "", "", "", ""]
    assert lines[-1].startswith("peak memory, MB, 12 tokens")
    assert "sharing saves disk and memory, not time: one block is stored, but a text still passes 4\n" in outcome.err
    assert "one text at a time, float32, cpu" in outcome.err
    card = json.loads(nlpx("inspect", "--cost", "albert", "--json", "--device", "cpu").out)
    assert list(card["model"]["lengths"]) == ["24"]  # it has no more positions
    assert card["ratio"]["parameters"]["blocks"] == pytest.approx(1 / 4)
    assert card["ratio"]["lengths"]["24"]["flops_forward"] == pytest.approx(1, abs=0.1)
    assert card["ratio"]["parameters"]["as_computed"] == pytest.approx(1, abs=0.2)


def test_the_cost_card_of_an_electra(nlpx):
    tiny.checkpoint(Path("electra"), "ElectraConfig", "ElectraForPreTraining", embedding_size=8)
    assert "cannot fill masks or generate" in nlpx("inspect", "--cost", "electra").err


def test_what_has_no_cost_card(nlpx):
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    tiny.checkpoint(Path("other"), "DistilBertConfig", "DistilBertModel", **sizes)
    outcome = nlpx("inspect", "--cost", "other")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith("Error: other: none of nlpx's families\n")
    outcome = nlpx("inspect", "other", "--length", "12")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "Error: --length has no effect without --cost\n  nlpx inspect --cost ...\n"
    outcome = nlpx("inspect", "--cost", "none.yaml")
    assert (outcome.code, outcome.err.splitlines()[0]) == (2, "Error: no preset file at none.yaml")
    tiny.bert(Path("bert"))
    outcome = nlpx("inspect", "--cost", "bert", "--device", "gpu")
    assert (outcome.code, outcome.err.splitlines()[0]) == (2, "Error: unknown device `gpu`")
