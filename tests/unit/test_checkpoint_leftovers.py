"""What a checkpoint stores beyond the model, or lacks: refused, warned of, or read under another name; never silent."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from nlpx.errors import InputError, ShownWarning
from nlpx.models.checkpoints.load import load_model, load_trained

IDS = torch.tensor([[2, 5, 6, 7, 3]])


def changed(folder, *, tensors=None, config=None):
    """Rewrite what a directory holds: `tensors` maps the table, `config` updates or, with None, drops keys."""
    file = folder / "model.safetensors"
    if tensors is not None:
        save_file(tensors({name: tensor.clone() for name, tensor in load_file(file).items()}), file)
    if config is not None:
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8")) | config
        text = json.dumps({key: value for key, value in stored.items() if value is not None})
        (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def bert(tmp_path):
    tiny.bert(tmp_path / "bert", "BertForPreTraining")
    return tmp_path / "bert"


def states(folder, **choices):
    with torch.inference_mode():
        return load_model(folder, **choices)(IDS).last_hidden_state


def alerts_of(folder, **choices):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_model(folder, **choices)
    return [str(found.message) for found in caught if issubclass(found.category, ShownWarning)]


def test_heads_nobody_asked_for_are_no_reason_to_stop(bert):
    assert alerts_of(bert) == []
    assert load_model(bert).load_report.unexplained == []


def test_bert_under_the_type_roberta_is_told_by_its_names(bert, tmp_path):
    expected = states(bert)
    other = changed(Path(shutil.copytree(bert, tmp_path / "roberta")), config={"model_type": "roberta"})
    assert load_model(other).load_report.reason == "config.json says roberta, the tensors are BERT's"
    assert torch.equal(states(other), expected)


def test_names_that_fit_no_model_are_refused(bert, tmp_path):
    other = changed(
        Path(shutil.copytree(bert, tmp_path / "roberta")),
        config={"model_type": "roberta"},
        tensors=lambda table: {
            name.replace("bert.encoder.layer", "stack.block"): tensor for name, tensor in table.items()
        },
    )
    with pytest.raises(InputError, match=r"the checkpoint lacks .* and \d+ more"):
        load_model(other)


@pytest.mark.parametrize("head", [None, "mlm"])
def test_a_model_of_transformers_never_starts_at_random(tmp_path, head):
    sizes = {"dim": 16, "n_heads": 2, "hidden_dim": 24}
    tiny.checkpoint(tmp_path / "other", "DistilBertConfig", "DistilBertForMaskedLM", **sizes)
    assert load_model(tmp_path / "other", head=head).load_report.missing == []
    changed(tmp_path / "other", config={"n_layers": 3})
    with pytest.raises(InputError, match=r"lacks .*transformer.layer.2.* and 15 more, part of the encoder"):
        load_model(tmp_path / "other", head=head)


def test_fewer_layers_than_stored_are_taken_with_a_warning(bert):
    stored = json.loads((bert / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    changed(bert, config={"num_hidden_layers": 1})
    (alert,) = alerts_of(bert)
    assert alert.endswith(f"bert stores {stored} layers, the configuration takes 1: the rest is left out")


def test_fewer_layers_of_a_model_of_transformers(tmp_path):
    sizes = {"dim": 16, "n_heads": 2, "hidden_dim": 24}
    tiny.checkpoint(tmp_path / "other", "DistilBertConfig", "DistilBertModel", **sizes)
    changed(tmp_path / "other", config={"n_layers": 1})
    (alert,) = alerts_of(tmp_path / "other")
    assert alert.endswith("stores 2 layers, the configuration takes 1: the rest is left out")


def test_a_tensor_that_the_computation_may_need_stops_a_model_that_is_asked(bert):
    changed(bert, tensors=lambda table: table | {"bert.encoder.layer.0.attention.self.distance": torch.zeros(3)})
    with pytest.raises(InputError, match=r"`bert.encoder.layer.0.attention.self.distance`: no part of the model"):
        load_model(bert)
    report = load_model(bert, allow_unexplained=True).load_report  # to train on, to convert
    assert any("no part of the model" in warning for warning in report.warnings)


def test_relative_positions_of_bert_are_refused_by_name(bert):
    changed(bert, config={"position_embedding_type": "relative_key"})
    with pytest.raises(InputError, match="position_embedding_type relative_key"):
        load_model(bert)


@pytest.mark.parametrize("prefix", ["module.", "model.encoder.", "encoder_q."])
def test_names_under_a_prefix_are_read_without_it(bert, tmp_path, prefix):
    expected = states(bert)
    other = changed(
        Path(shutil.copytree(bert, tmp_path / "prefixed")),
        tensors=lambda table: {prefix + name: tensor for name, tensor in table.items()} | {"queue": torch.zeros(2)},
    )
    (alert,) = alerts_of(other)
    assert f"names begin with `{prefix}` and are read without it; 1 tensors under other names" in alert
    assert torch.equal(states(other), expected)


def test_of_a_pair_the_trained_encoder_is_read(bert, tmp_path):
    expected = states(bert)

    def pair(table):
        slow = {f"encoder_k.{name}": tensor + 1 for name, tensor in table.items()}
        return {f"encoder_q.{name}": tensor for name, tensor in table.items()} | slow

    assert torch.equal(states(changed(Path(shutil.copytree(bert, tmp_path / "pair")), tensors=pair)), expected)


def test_a_run_without_its_classifier_does_not_answer(tmp_path):
    tiny.bert(tmp_path / "bert", "BertModel")
    load_model(tmp_path / "bert", heads=("classification",), num_labels=3).save(tmp_path / "run")
    assert load_trained(tmp_path / "run").classifier is not None
    changed(
        tmp_path / "run",
        tensors=lambda table: {name: tensor for name, tensor in table.items() if not name.startswith("classifier")},
    )
    with pytest.raises(InputError, match=r"the checkpoint lacks classifier.linear"):
        load_trained(tmp_path / "run")


def nezha(folder, *, config):
    """BERT's layers without a position table, with the buffers of a conversion for PyTorch."""

    def tensors(table):
        kept = {name: tensor for name, tensor in table.items() if "position_embeddings" not in name}
        return kept | {"bert.encoder.layer.0.attention.self.relative_positions_encoding.positions": torch.zeros(4)}

    return changed(folder, tensors=tensors, config=config)


@pytest.mark.parametrize(
    "config", [{"model_type": None}, {"max_relative_position": 64}, {"use_relative_position": True}]
)
def test_nezha_is_told_by_its_relative_positions(bert, config):
    found = load_model(nezha(bert, config=config))
    assert (found.config.family, found.config.position) == ("nezha", "relative")
    assert found.load_report.unexplained == []


@pytest.mark.parametrize("name", ["bert_config_rbt3.json", "albert_config_tiny_g.json"])
def test_a_configuration_of_another_name_is_found(bert, name):
    expected = states(bert)
    (bert / "config.json").rename(bert / name)
    assert torch.equal(states(bert), expected)


def test_several_configurations_are_not_guessed_among(bert):
    shutil.copy(bert / "config.json", bert / "bert_config_a.json")
    (bert / "config.json").rename(bert / "bert_config_b.json")
    with pytest.raises(InputError, match="2 configurations beside the weights"):
        load_model(bert)


def test_an_albert_as_wide_as_its_states_keeps_its_map(tmp_path):
    from transformers import AlbertConfig, AlbertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "embedding_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = AlbertModel(AlbertConfig(vocab_size=30, intermediate_size=24, max_position_embeddings=16, **sizes)).eval()
    model.save_pretrained(tmp_path / "albert")
    ours = load_model(tmp_path / "albert")
    assert ours.config.project_embeddings
    with torch.inference_mode():
        torch.testing.assert_close(states(tmp_path / "albert"), model(IDS).last_hidden_state, atol=1e-5, rtol=0)


def test_a_bert_with_a_narrow_word_table_as_bert4keras_writes_it(bert, tmp_path):
    narrow = Path(shutil.copytree(bert, tmp_path / "narrow"))
    generator = torch.Generator().manual_seed(0)

    def tensors(table):
        width = table["bert.embeddings.word_embeddings.weight"].shape[1]
        parts = ("word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight")
        for name in [f"bert.embeddings.{part}" for part in (*parts, "LayerNorm.weight", "LayerNorm.bias")]:
            table[name] = table[name][..., : width // 2].clone()
        table = {name: tensor for name, tensor in table.items() if not name.startswith("cls.")}
        place = "bert.encoder.embedding_hidden_mapping_in"
        weight = torch.randn(width, width // 2, generator=generator)
        return table | {f"{place}.weight": weight, f"{place}.bias": torch.zeros(width)}

    model = load_model(changed(narrow, tensors=tensors, config={"embedding_size": None}))
    assert model.config.embedding_size == model.config.hidden_size // 2
    assert model.load_report.unexplained == []


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("model.safetensors.index.json", "[1]", "one JSON object"),
        ("model.safetensors.index.json", '{"weight_map": [1]}', "`weight_map` is no table"),
        ("model.safetensors.index.json", '{"weight_map": null}', "`weight_map` is no table"),
        ("model.safetensors.index.json", '{"weight_map": {"a": 5}}', "`weight_map` is no table"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "."}}', "shard is missing"),
        ("config.json", '{"model_type": "nlpx", "config": null}', "is no table of keys"),
        ("config.json", "[" * 100_000, "nested too deeply"),
        ("config.json", f'{{"hidden_size": {"9" * 5000}}}', "not a configuration"),
        ("config.json", None, "cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_named(bert, file, content, what):
    if content is None:
        (bert / file).unlink()
        (bert / file).mkdir()
    else:
        (bert / file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=what):
        load_model(bert)


def test_a_table_without_names_is_refused(bert):
    (bert / "model.safetensors").unlink()
    torch.save({1: torch.zeros(2)}, bert / "pytorch_model.bin")
    with pytest.raises(InputError, match="a table of named tensors"):
        load_model(bert)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_may_not_be_read(bert, file, monkeypatch):
    if file.endswith("bin"):
        torch.save(load_file(bert / "model.safetensors"), bert / file)
        (bert / "model.safetensors").unlink()
    opened = Path.open
    refused = PermissionError(13, "Permission denied")

    def refuse(path, *words, **more):
        if path.name == file:
            raise refused
        return opened(path, *words, **more)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=f"{file}: cannot be read: permission denied"):
        load_model(bert)


def test_the_format_of_uer_is_named(bert):
    changed(
        bert,
        tensors=lambda _: {
            "embedding.word_embedding.weight": torch.zeros(4, 4),
            "encoder.transformer.0.self_attn.linear_layers.0.weight": torch.zeros(4, 4),
        },
        config={"model_type": None},
    )
    with pytest.raises(InputError, match="UER-py's own format"):
        load_model(bert)
