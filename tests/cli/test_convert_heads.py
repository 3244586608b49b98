"""Heads and facts that `nlpx convert` must not lose: classifiers, names of classes, ids; others' heads are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from nlpx import load_model
from nlpx.errors import InputError
from nlpx.models.checkpoints.load import describe
from nlpx.models.checkpoints.vocabulary_rows import with_rows

transformers = pytest.importorskip("transformers")
NAMES = {0: "体育", 1: "财经", 2: "房产"}
CLASSIFIERS = {"bert": "Bert", "albert": "Albert", "roformer": "RoFormer", "electra": "Electra"}
IDS = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 9, 3, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


def made(folder: str, name: str, ending: str, **sizes):
    return tiny.checkpoint(Path(folder), f"{name}Config", f"{name}For{ending}", **sizes)


def configuration(folder: str) -> dict:
    return json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))


def change(folder: str, **keys) -> None:
    kept = {key: value for key, value in (configuration(folder) | keys).items() if value is not None}
    Path(folder, "config.json").write_text(json.dumps(kept), encoding="utf-8")


def logits(model):
    with torch.no_grad():
        return model(IDS, attention_mask=MASK).logits


@pytest.mark.parametrize("family", CLASSIFIERS)
@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_a_classifier_survives_with_its_classes(nlpx, family, act):
    label2id = {name: index for index, name in NAMES.items()}
    options = {"id2label": NAMES, "label2id": label2id, "hidden_act": act}
    theirs = made("hf", CLASSIFIERS[family], "SequenceClassification", **options)
    ours = load_model("hf", head="classification")
    torch.testing.assert_close(logits(ours), logits(theirs), atol=1e-5, rtol=0)
    assert nlpx("convert", "hf", "own", "--to", "nlpx", "--quiet").code == 0
    outcome = nlpx("convert", "own", "back", "--to", "hf")
    assert outcome == (0, "back\n", f"family {family}, heads: classification, tokenizer: char\n")
    again = transformers.AutoModelForSequenceClassification.from_pretrained("back").eval()
    torch.testing.assert_close(logits(again), logits(theirs))
    assert (again.config.num_labels, again.config.id2label, again.config.label2id) == (3, NAMES, label2id)


def test_classes_without_names_keep_their_number(nlpx):
    made("hf", "RoFormer", "SequenceClassification", num_labels=5)
    change("hf", id2label=None, label2id=None)
    assert nlpx("convert", "hf", "back", "--quiet").code == 0
    assert transformers.AutoConfig.from_pretrained("back").num_labels == 5
    made("two", "RoFormer", "SequenceClassification", id2label={0: "否", 1: "是"}, label2id={"否": 0, "是": 1})
    other = load_model("two", head="classification", num_labels=3)  # other classes
    assert other.config.labels == ()


def test_the_rows_of_another_vocabulary_leave_the_classifier_alone():
    theirs = made("hf", "Electra", "SequenceClassification", num_labels=3)
    path = Path("hf").resolve()
    trimmed = with_rows(path, describe(path), keep_tokens=range(10))
    torch.testing.assert_close(logits(trimmed), logits(theirs), atol=1e-5, rtol=0)


def test_a_dense_classifier_is_no_start_for_one_of_one_layer():
    made("hf", "RoFormer", "SequenceClassification", num_labels=3)
    stored = load_file("hf/model.safetensors")["classifier.out_proj.weight"]
    task = {"classification_pooling": "mean", "classification_transform": "none", "num_labels": 3}
    new = load_model("hf", heads=("classification",), **task)
    assert "classifier.linear.weight" in new.load_report.new
    assert not torch.equal(new.classifier.linear.weight, stored)


@pytest.mark.parametrize("family", ["roformer", "electra"])
def test_a_classifier_of_one_layer_has_no_counterpart_there(nlpx, family):
    made("hf", CLASSIFIERS[family], "SequenceClassification")
    words = ("--set", "classification_transform=none", "--set", "classification_pooling=first")
    outcome = nlpx("convert", "hf", "back", *words, "--allow-partial", "classifier.*")
    assert (outcome.code, outcome.out) == (3, "")
    assert "classification_transform `none`" in outcome.err


FOREIGN = [
    *((family, "TokenClassification", "which labels tokens") for family in CLASSIFIERS.values()),
    *((family, "QuestionAnswering", "which finds answers") for family in CLASSIFIERS.values()),
    *((family, "MultipleChoice", "which chooses among answers") for family in CLASSIFIERS.values()),
]
WAY_OUT = (
    "  embed, similar and finetune start from the encoder; convert --set heads=[] writes it alone; "
    "transformers runs the head\n"
)


@pytest.mark.parametrize(("family", "ending", "what"), FOREIGN)
def test_other_heads_are_no_classifier_of_texts(nlpx, family, ending, what):
    made("hf", family, ending)
    message = f"hf: its head is that of {family}For{ending}, {what}: the encoder under it can be read, the head not"
    with pytest.raises(InputError) as caught:
        load_model("hf", head="classification")
    assert caught.value.message == message
    assert nlpx("convert", "hf", "back") == (3, "", f"Error: {message}\n{WAY_OUT}")
    assert nlpx("convert", "hf", "back", "--set", "heads=[]", "--quiet").code == 0
    inspected = json.loads(nlpx("inspect", "hf", "--json").out)
    assert "classification" not in inspected["config"]["heads"]
    assert any(f"{family}For{ending}" in warning for warning in inspected["warnings"])
    new = load_model("hf", heads=("classification",), num_labels=2)  # as finetune asks for one
    assert "classifier.linear.weight" in new.load_report.new


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_a_classifier_of_tokens_is_told_by_what_else_is_stored(family):
    made("hf", CLASSIFIERS[family], "TokenClassification", num_labels=4)
    change("hf", architectures=None)
    assert "classification" not in describe(Path("hf")).config.heads
    with pytest.raises(InputError, match="no pooler under it, as one that labels tokens"):
        load_model("hf", head="classification")


def test_a_classifier_of_a_gpt_is_not_lost_in_silence(nlpx):
    sizes = {"vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24, "pad_token_id": 0}
    made("hf", "GPT2", "SequenceClassification", **sizes)
    outcome = nlpx("convert", "hf", "back")
    assert (outcome.code, outcome.out) == (3, "")
    assert "its head is that of GPT2ForSequenceClassification, which has no counterpart here" in outcome.err


def test_where_a_gpt_begins_and_ends_survives(nlpx):
    sizes = {"vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24}
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    tiny.checkpoint(Path("hf"), "GPT2Config", "GPT2LMHeadModel", **sizes, **ids)
    assert nlpx("convert", "hf", "own", "--to", "nlpx", "--quiet").code == 0
    assert nlpx("convert", "own", "back", "--quiet").code == 0
    again = transformers.AutoModelForCausalLM.from_pretrained("back")
    for config in (again.config, again.generation_config):
        assert {name: getattr(config, name) for name in ids} == ids
    path = Path("hf").resolve()
    trimmed = with_rows(path, describe(path), keep_tokens=[3, 0, 7, 9])
    assert trimmed.config.special_token_ids == {"eos": 0, "pad": 1}


def roformer_with_pooler(folder: str, **keys) -> str:
    made(folder, "RoFormer", "MaskedLM")
    tensors = load_file(f"{folder}/model.safetensors")
    tensors |= {"roformer.pooler.dense.weight": torch.eye(16) * 3, "roformer.pooler.dense.bias": torch.zeros(16)}
    head = keys.pop("sentence_head", False)
    if head:
        tensors |= {"cls.seq_relationship.weight": torch.zeros(2, 16), "cls.seq_relationship.bias": torch.zeros(2)}
    save_file(tensors, f"{folder}/model.safetensors")
    change(folder, **keys)
    return folder


@pytest.mark.parametrize(
    ("folder", "keys", "expected"),
    [
        ("mine", {"pooler_activation": "tanh"}, "tanh"),
        ("mine", {"pool_act": "tanh"}, "tanh"),
        ("mine", {"sentence_head": True}, "tanh"),
        ("roformer_sim_tanh", {"pooler_activation": "tanh"}, "tanh"),
        ("mine", {"pooler_activation": "linear"}, "linear"),
        ("roformer_chinese_sim_char_base", {}, "linear"),
    ],
)
def test_what_follows_the_pooler_of_a_roformer_is_told(folder, keys, expected):
    model = load_model(roformer_with_pooler(folder, **keys))
    with torch.no_grad():
        output = model(IDS, attention_mask=MASK)
    mapped = 3 * output.last_hidden_state[:, 0]
    torch.testing.assert_close(output.pooled, mapped.tanh() if expected == "tanh" else mapped)
    assert not any("pooler" in warning for warning in model.load_report.warnings)


def test_what_nothing_tells_of_a_pooler_is_said():
    model = load_model(roformer_with_pooler("mine"))
    assert model.config.pooler == "linear"
    assert any("nothing says what follows the pooler" in warning for warning in model.load_report.warnings)
    with pytest.raises(InputError, match="pooler_activation relu is not supported"):
        load_model(roformer_with_pooler("other", pooler_activation="relu"))
