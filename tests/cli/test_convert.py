"""`nlpx convert`: there and back to the bit, outputs equal in plain transformers, refusals by the feature's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from nlpx import load_model, load_tokenizer

transformers = pytest.importorskip("transformers")
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "bert4keras"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


def names(folder: str = ".") -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


GPT = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}
ROUND = {
    "bert": ("BertConfig", "BertModel", {}),
    "bert-pretraining": ("BertConfig", "BertForPreTraining", {}),
    "bert-untied": ("BertConfig", "BertForMaskedLM", {"tie_word_embeddings": False}),
    "bert-classes": ("BertConfig", "BertForSequenceClassification", {"num_labels": 3}),
    "roformer": ("RoFormerConfig", "RoFormerForMaskedLM", {"embedding_size": 8}),
    "albert": ("AlbertConfig", "AlbertForMaskedLM", {"embedding_size": 8}),
    "electra": ("ElectraConfig", "ElectraForPreTraining", {"embedding_size": 8}),
    "gpt": ("OpenAIGPTConfig", "OpenAIGPTLMHeadModel", GPT),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT),
}


@pytest.mark.parametrize("name", ROUND)
def test_there_and_back_is_exact(nlpx, name):
    config, model, sizes = ROUND[name]
    made = tiny.checkpoint(Path("hf"), config, model, **sizes)
    if name == "bert-untied":  # stored twice, used once
        with torch.no_grad():
            made.cls.predictions.bias.copy_(made.cls.predictions.decoder.bias)
        made.save_pretrained("hf")
    assert nlpx("convert", "hf", "own", "--to", "nlpx", "--quiet") == (0, "own\n", "")
    assert nlpx("convert", "own", "back", "--to", "hf", "--quiet") == (0, "back\n", "")
    before, after = load_file("hf/model.safetensors"), load_file("back/model.safetensors")
    for key, tensor in before.items():
        prefixed = [other for other in after if other == key or other.endswith(f".{key}")]
        assert len(prefixed) == 1, key
        assert torch.equal(after[prefixed[0]].view(torch.int32), tensor.view(torch.int32)), key
    again = getattr(transformers, model).from_pretrained("back").eval()
    ids = torch.randint(5, 30, (2, 9))
    with torch.no_grad():
        pairs = list(zip(made(ids).to_tuple(), again(ids).to_tuple(), strict=True))
    for first, second in pairs:  # the weights are equal, but transformers maps them where products round otherwise
        if isinstance(first, torch.Tensor):
            torch.testing.assert_close(first, second)
    assert Path("back/vocab.txt").read_bytes() == Path("hf/vocab.txt").read_bytes()


@pytest.mark.parametrize("name", ["bert", "albert", "electra"])
def test_a_tensorflow_bundle_gives_the_same_outputs_in_transformers(nlpx, name):
    outcome = nlpx("convert", str(FIXTURES / name), "hf", "--to", "hf", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    written = json.loads(outcome.out)
    assert set(written) == {"path", "format", "family", "heads", "unexpected", "tokenizer"}
    assert (written["family"], written["unexpected"], written["tokenizer"]) == (name, [], "char")
    theirs, report = transformers.AutoModel.from_pretrained("hf", output_loading_info=True)
    assert not report["missing_keys"]
    ours = load_model(FIXTURES / name)
    tokenizer = transformers.AutoTokenizer.from_pretrained("hf")
    texts, pairs = ["天地玄黄", "宇宙"], ["日月", "寒来暑往"]
    batch = tokenizer(texts, pairs, return_tensors="pt", padding=True)
    for text, pair, ids, mask in zip(texts, pairs, batch["input_ids"], batch["attention_mask"], strict=True):
        assert load_tokenizer("hf").encode(text, pair).token_ids == ids[mask.bool()].tolist()
    with torch.no_grad():
        expected = theirs.eval()(**batch).last_hidden_state
        got = ours(batch["input_ids"], batch["token_type_ids"], batch["attention_mask"]).last_hidden_state
    real = batch["attention_mask"].bool()
    assert expected[real].abs().max() > 0.1
    assert (got - expected)[real].abs().max() < 1e-5


def test_the_language_model_of_a_bundle(nlpx):
    assert nlpx("convert", str(FIXTURES / "bert"), "hf", "--quiet").code == 0
    theirs = transformers.AutoModelForMaskedLM.from_pretrained("hf").eval()
    ids = torch.randint(5, 40, (2, 7))
    with torch.no_grad():
        expected, got = theirs(ids).logits, load_model(FIXTURES / "bert", head="mlm")(ids).logits
    assert (got - expected).abs().max() < 1e-5


def test_our_own_form_keeps_everything(nlpx):
    words = ("--set", "position=hierarchical", "--set", "condition_size=4")
    assert nlpx("convert", str(FIXTURES / "bert"), "own", "--to", "nlpx", *words, "--quiet").code == 0
    model = load_model("own", head="mlm")
    assert (model.config.position, model.config.condition_size) == ("hierarchical", 4)
    reference = load_model(FIXTURES / "bert", head="mlm", position="hierarchical", condition_size=4)
    ids = torch.randint(5, 40, (1, 40))  # beyond the table's 16 rows
    with torch.no_grad():
        assert torch.equal(model(ids).logits, reference(ids).logits)


REFUSED = {
    "nezha": (("nezha", "--family", "nezha"), "position `relative` (NEZHA left transformers with version 5)"),
    "roformer-v2": (("roformer_v2",), "family `roformer_v2` (norm `rms` without scale, no biases)"),
    "key-size": (("bert_key_size",), "key_size 8 and head_size 12 with hidden_size 24 and 2 heads"),
    "condition": (("bert", "--set", "condition_size=4"), "condition_size 4"),
    "hierarchical": (("bert", "--set", "position=hierarchical"), "position `hierarchical`"),
    "pooler": (("roformer", "--family", "roformer"), "pooler `linear` of a RoFormer"),
    "unshared": (("albert", "--set", "share_layers=none"), "share_layers `none`"),
    "unilm": (("bert", "--set", "mask=unilm"), "mask `unilm`"),
    "pooling": (("bert", "--set", "heads=[classification]"), "classification_pooling `mean`"),
    "linear-pooler": (("bert", "--set", "pooler=linear"), "pooler `linear`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_features_without_a_counterpart(nlpx, name):
    (folder, *words), feature = REFUSED[name]
    outcome = nlpx("convert", str(FIXTURES / folder), "hf", "--to", "hf", *words)
    assert outcome == (
        3, "", f"Error: {feature} has no counterpart in transformers\n  --to nlpx keeps everything\n",
    )  # fmt: skip
    assert names() == set()  # nothing half-written
    assert nlpx("convert", str(FIXTURES / folder), "own", "--to", "nlpx", *words, "--quiet").code == 0


def test_a_roformer_without_its_pooler(nlpx):
    words = ("--family", "roformer", "--set", "pooler=none")
    outcome = nlpx("convert", str(FIXTURES / "roformer"), "hf", *words)
    assert (outcome.code, outcome.out) == (0, "hf\n")
    assert "left out: bert/pooler/dense/kernel\n" in outcome.err  # said, not silent
    theirs = transformers.RoFormerForMaskedLM.from_pretrained("hf").eval()
    ids = torch.randint(5, 40, (2, 7))
    with torch.no_grad():
        expected = theirs(ids).logits
        got = load_model(FIXTURES / "roformer", family="roformer", head="mlm")(ids).logits
    assert (got - expected).abs().max() < 1e-5


def test_a_fine_tuned_model_has_no_counterpart(nlpx):
    tiny.write_rows(Path("rows.jsonl"), tiny.rows(40))
    words = tiny.settings(*tiny.SMALL, "train.epochs=1")
    assert nlpx("finetune", "--data", "rows.jsonl", *words, "--out", "run", "--quiet").code == 0
    outcome = nlpx("convert", "run/checkpoints/best", "hf")
    assert (outcome.code, outcome.out) == (3, "")
    assert "condition_size 4 has no counterpart in transformers" in outcome.err


def test_an_existing_target(nlpx):
    tiny.bert(Path("bert"))
    assert nlpx("convert", "bert", "hf", "--quiet").code == 0
    before = Path("hf/model.safetensors").read_bytes()
    taken = "  choose another directory, or --overwrite to replace it\n"
    assert nlpx("convert", "bert", "hf", "--to", "nlpx") == (2, "", f"Error: hf: already exists\n{taken}")
    assert Path("hf/model.safetensors").read_bytes() == before
    assert nlpx("convert", "bert", "hf", "--to", "nlpx", "--overwrite", "--quiet").code == 0
    assert json.loads(Path("hf/config.json").read_text(encoding="utf-8"))["model_type"] == "nlpx"
    Path("empty").mkdir()
    assert nlpx("convert", "bert", "empty", "--quiet").code == 0


def test_overwrite_replaces_checkpoints_only(nlpx):
    tiny.bert(Path("bert"))
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("信", encoding="utf-8")
    Path("file").write_text("信", encoding="utf-8")
    for target in ("mine", "file"):
        outcome = nlpx("convert", "bert", target, "--overwrite")
        assert outcome == (
            2, "", f"Error: {target}: not a checkpoint directory, so --overwrite does not touch it\n"
            "  choose another directory, or remove it yourself\n",
        )  # fmt: skip
    assert Path("mine/letter.txt").read_text(encoding="utf-8") == Path("file").read_text(encoding="utf-8") == "信"


def test_over_itself(nlpx):
    made = tiny.bert(Path("bert"))
    assert nlpx("convert", "bert", "bert", "--to", "nlpx", "--overwrite", "--quiet").code == 0
    ids = torch.randint(5, 30, (2, 9))
    with torch.no_grad():
        assert (load_model("bert", head="mlm")(ids).logits - made(ids).logits).abs().max() < 1e-5


@pytest.mark.parametrize("form", ["hf", "nlpx"])
def test_weights_stored_in_half_the_bytes(nlpx, form):
    tiny.bert(Path("bert"))
    assert nlpx("convert", "bert", "whole", "--to", form, "--quiet").code == 0
    assert nlpx("convert", "bert", "half", "--to", form, "--dtype", "bfloat16", "--quiet").code == 0
    whole, half = load_file("whole/model.safetensors"), load_file("half/model.safetensors")
    for name, tensor in whole.items():
        assert torch.equal(half[name], tensor.to(torch.bfloat16)), name
    model = load_model("half", head="mlm")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    ids = torch.randint(5, 30, (2, 9))
    with torch.no_grad():
        assert (model(ids).logits - load_model("whole", head="mlm")(ids).logits).abs().max() < 0.2


def test_a_failure_keeps_the_old_target(nlpx, monkeypatch):
    tiny.bert(Path("bert"))
    assert nlpx("convert", "bert", "hf", "--quiet").code == 0
    before = {path.name: path.read_bytes() for path in Path("hf").iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nlpx.models.checkpoints.save.save_file", full)
    outcome = nlpx("convert", "bert", "hf", "--overwrite")
    assert outcome == (
        4, "", "Error: hf: no space left on the disk; the previous one is untouched\n"
        "  free some space\n",
    )  # fmt: skip
    assert {path.name: path.read_bytes() for path in Path("hf").iterdir()} == before
    assert names() == {"bert", "hf"}


def test_the_tokenizer_travels_and_may_be_absent(nlpx):
    words = ["春天", "夏天", "秋天", "冬天", "山川", "日月"]
    tiny.bert(Path("wobert"), vocab_size=len(tiny.VOCAB) + 6, vocab=[*tiny.VOCAB, *words])
    outcome = nlpx("convert", "wobert", "own", "--to", "nlpx")
    assert (outcome.code, outcome.err) == (0, "family bert, heads: lm, tokenizer: word\n")
    assert load_tokenizer("own").kind == "word"
    assert load_tokenizer("own").tokenize("春天山川") == load_tokenizer("wobert").tokenize("春天山川")
    Path("wobert/vocab.txt").unlink()
    outcome = nlpx("convert", "wobert", "bare", "--to", "nlpx")
    assert (outcome.code, outcome.err) == (0, "family bert, heads: lm, tokenizer: none\n")
    assert names("bare") == {"config.json", "model.safetensors"}


def test_partial_checkpoints(nlpx):
    tiny.bert(Path("bert"))
    tensors = load_file("bert/model.safetensors")
    tensors.pop("bert.encoder.layer.1.attention.self.key.bias")
    save_file(tensors, "bert/model.safetensors")
    outcome = nlpx("convert", "bert", "own", "--to", "nlpx")
    assert outcome == (
        3, "", "Error: bert: the checkpoint lacks layers.1.attention.query_key_value.bias\n"
        "  --allow-partial 'layers.*' starts them at random\n",
    )  # fmt: skip
    assert nlpx("convert", "bert", "own", "--to", "nlpx", "--allow-partial", "layers.*", "--quiet").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "positon=none"), "unknown choice `positon`"),
        (("--set", "position"), "--set position: expected KEY=VALUE"),
        (("--set", "position=sideways"), "position: Input should be "),
        (("--set", "norm=rms", "--set", "norm_scale=false", "--set", "condition_size=3"), "norm `rms` without"),
        (("--to", "tf"), "'tf' is not one of 'hf', 'nlpx', 'onnx'"),
        (("--dtype", "int8"), "--to hf stores no int8\n  it stores float32, bfloat16, float16"),
        (("--to", "onnx", "--dtype", "bfloat16"), "--to onnx stores no bfloat16\n  it stores float32, int8"),
    ],
)
def test_wrong_words(nlpx, words, message):
    tiny.bert(Path("bert"))
    outcome = nlpx("convert", "bert", "x", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert names() == {"bert"}


def test_encoders_of_transformers_stay_theirs(nlpx):
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    tiny.checkpoint(Path("other"), "DistilBertConfig", "DistilBertModel", **sizes)
    assert nlpx("convert", "other", "x") == (
        3, "", "Error: other: none of nlpx's families\n  transformers reads it as it is\n",
    )  # fmt: skip


def test_an_mt5_with_its_tokenizer(nlpx):
    """Both stacks, the product of its own, and the sentencepiece file; or the encoder alone."""
    tiny.mt5(Path("hf"))
    assert nlpx("convert", "hf", "own", "--to", "nlpx", "--quiet") == (0, "own\n", "")
    assert nlpx("convert", "own", "back", "--to", "hf", "--quiet") == (0, "back\n", "")
    before, after = load_file("hf/model.safetensors"), load_file("back/model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    assert Path("hf/spiece.model").read_bytes() == Path("back/spiece.model").read_bytes()
    text = "今天天气很好"
    assert load_tokenizer("own").encode(text) == load_tokenizer("hf").encode(text)
    outcome = nlpx("convert", "own", "encoder", "--set", "heads=[]")
    assert outcome.code == 0, outcome.err
    theirs = transformers.MT5EncoderModel.from_pretrained("encoder").eval()
    ids = torch.randint(3, 100, (2, 9))
    with torch.no_grad():
        found = load_model("hf")(ids).last_hidden_state
        torch.testing.assert_close(found, theirs(ids).last_hidden_state, atol=1e-5, rtol=1e-5)
    outcome = nlpx("convert", "encoder", "none", "--set", "heads=[lm]")
    assert outcome.code != 0


def test_what_is_written_of_an_mt5_is_inspected(nlpx):
    tiny.mt5(Path("hf"))
    facts = json.loads(nlpx("inspect", "hf", "--json").out)
    assert (facts["family"], facts["tokenizer"]["kind"], facts["missing"]) == ("mt5", "subword", [])
    assert facts["unexpected"] == []
    shared = facts["config"]["vocab_size"] * 16
    assert facts["encoder_parameters"] < facts["parameters"] - shared
    cost = json.loads(nlpx("inspect", "hf", "--cost", "--json").out)
    assert cost["model"]["parameters"]["total"] == facts["parameters"]
