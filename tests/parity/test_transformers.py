"""Outputs and gradients equal those of transformers on tiny random models with every bias and norm randomised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from nlpx import load_model
from nlpx.errors import InputError
from nlpx.models.checkpoints.family import get_family
from nlpx.models.checkpoints.load import describe
from nlpx.models.checkpoints.names import written_name
from nlpx.models.checkpoints.save import export_model, save_model, unfused
from nlpx.models.checkpoints.vocabulary_rows import STORED

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
GPT_SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 40,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}
# name -> (configuration class, model class, further keys, our head)
MODELS: dict[str, tuple[str, str, dict[str, Any], str | None]] = {
    "bert": ("BertConfig", "BertModel", {}, None),
    "bert-mlm": ("BertConfig", "BertForMaskedLM", {}, "mlm"),
    "bert-mlm-untied": ("BertConfig", "BertForMaskedLM", {"tie_word_embeddings": False}, "mlm"),
    "bert-causal": ("BertConfig", "BertLMHeadModel", {"is_decoder": True}, "lm"),
    "bert-sentence": ("BertConfig", "BertForNextSentencePrediction", {}, "sentence"),
    "bert-classes": ("BertConfig", "BertForSequenceClassification", {"num_labels": 3}, "classification"),
    "bert-tanh-gelu": ("BertConfig", "BertModel", {"hidden_act": "gelu_new"}, None),
    "roformer": ("RoFormerConfig", "RoFormerModel", {"embedding_size": 24}, None),
    "roformer-mlm": ("RoFormerConfig", "RoFormerForMaskedLM", {}, "mlm"),
    "roformer-mlm-narrow": ("RoFormerConfig", "RoFormerForMaskedLM", {"embedding_size": 24}, "mlm"),
    "albert": ("AlbertConfig", "AlbertModel", {"embedding_size": 24}, None),
    "albert-mlm": ("AlbertConfig", "AlbertForMaskedLM", {"embedding_size": 24}, "mlm"),
    "albert-classes": (
        "AlbertConfig",
        "AlbertForSequenceClassification",
        {"embedding_size": 24},
        "classification",
    ),
    "electra": ("ElectraConfig", "ElectraModel", {"embedding_size": 24}, None),
    "electra-generator": ("ElectraConfig", "ElectraForMaskedLM", {"embedding_size": 24}, "mlm"),
    "electra-discriminator": (
        "ElectraConfig",
        "ElectraForPreTraining",
        {"embedding_size": 24},
        "discriminator",
    ),
    "roformer-classes": (
        "RoFormerConfig",
        "RoFormerForSequenceClassification",
        {"num_labels": 3, "hidden_act": "relu"},
        "classification",
    ),
    "electra-classes": (
        "ElectraConfig",
        "ElectraForSequenceClassification",
        {"embedding_size": 24, "num_labels": 3, "hidden_act": "relu"},
        "classification",
    ),
    "gpt": ("OpenAIGPTConfig", "OpenAIGPTModel", {}, None),
    "gpt-lm": ("OpenAIGPTConfig", "OpenAIGPTLMHeadModel", {}, "lm"),
    "gpt-lm-relu": ("OpenAIGPTConfig", "OpenAIGPTLMHeadModel", {"afn": "relu", "layer_norm_epsilon": 1e-3}, "lm"),
    "gpt2": ("GPT2Config", "GPT2Model", {"n_inner": 48}, None),
    "gpt2-lm": ("GPT2Config", "GPT2LMHeadModel", {"n_inner": 48}, "lm"),
    "gpt2-lm-untied": ("GPT2Config", "GPT2LMHeadModel", {"tie_word_embeddings": False}, "lm"),
}


def reference(name: str, folder: Path) -> Any:
    """A transformers model with random weights everywhere, saved in `folder`."""
    config_class, model_class, keys, _ = MODELS[name]
    sizes = GPT_SIZES if "GPT" in config_class else SIZES
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**(sizes | keys))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:  # RoFormer's sinusoid table is a frozen parameter
                parameter.normal_(std=0.2)
        if "tie_word_embeddings" in keys and hasattr(model, "cls"):
            model.cls.predictions.bias.copy_(model.cls.predictions.decoder.bias)  # stored twice, used once
    model.save_pretrained(folder)
    return model


def batch(*, segments: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    token_ids = torch.randint(5, 60, (3, 12), generator=generator)
    attention_mask = torch.ones_like(token_ids)
    attention_mask[1, 8:] = 0
    attention_mask[2, 3:] = 0
    segment_ids = torch.zeros_like(token_ids)
    segment_ids[:, 5:] = 1
    values = {"token_ids": token_ids, "attention_mask": attention_mask}
    return values | {"segment_ids": segment_ids} if segments else values


def their_arguments(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"token_ids": "input_ids", "attention_mask": "attention_mask", "segment_ids": "token_type_ids"}
    return {names[key]: value for key, value in ours.items()}


def compare(ours: Any, theirs: Any, real: Tensor, head: str | None) -> None:
    expected = theirs.logits if hasattr(theirs, "logits") else theirs.last_hidden_state
    got = {None: ours.last_hidden_state, "sentence": ours.heads.get("sentence")}.get(head, ours.logits)
    if got.dim() == 3 or head == "discriminator":
        got, expected = got[real], expected[real]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    if getattr(theirs, "pooler_output", None) is not None:
        torch.testing.assert_close(ours.pooled, theirs.pooler_output, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_equal(name: str, tmp_path: Path) -> None:
    theirs = reference(name, tmp_path)
    ours = load_model(tmp_path, head=MODELS[name][3])
    values = batch(segments="gpt" not in name)
    with torch.no_grad():
        result = ours(**values, return_hidden_states=True)
        expected = theirs(**their_arguments(values), output_hidden_states=True)
    real = values["attention_mask"].bool()
    compare(result, expected, real, MODELS[name][3])
    # GPT-2's last entry is taken after its final norm, ours are the blocks' own outputs.
    for block, state in enumerate(result.hidden_states[: -1 if "gpt2" in name else None]):
        torch.testing.assert_close(state[real], expected.hidden_states[block + 1][real], atol=1e-5, rtol=0)
    assert not ours.load_report.missing
    assert all(left.startswith(("pooler", "bert.pooler", "albert.pooler")) for left in ours.load_report.unexpected)


@pytest.mark.parametrize(
    "name",
    [
        *("bert", "bert-mlm", "roformer-mlm-narrow", "albert-mlm", "electra-generator", "gpt2-lm", "gpt-lm"),
        *("roformer-classes", "electra-classes"),
    ],
)
def test_gradients_equal(name: str, tmp_path: Path) -> None:
    theirs, ours = (
        reference(name, tmp_path / "reference"),
        load_model(tmp_path / "reference", head=MODELS[name][3]),
    )
    values = batch(segments="gpt" not in name)
    real = values["attention_mask"].bool()
    result, expected = ours(**values), theirs(**their_arguments(values))
    got = result.last_hidden_state if result.logits is None else result.logits
    wanted = expected.last_hidden_state if MODELS[name][3] is None else expected.logits
    chosen = real if got.dim() == 3 else slice(None)  # logits of classes have no tokens
    (got[chosen] ** 2).mean().backward()
    (wanted[chosen] ** 2).mean().backward()
    assert largest_difference(ours, theirs) < 1e-5


def largest_difference(ours: Any, theirs: Any) -> float:
    """Gradients compared through the names our exporter writes."""
    table = get_family(ours.config.family).NAMES
    expected = {
        key: value.grad for key, value in theirs.named_parameters(remove_duplicate=False) if value.grad is not None
    }
    prefix = get_family(ours.config.family).PREFIX
    differences = []
    for name, parameter in ours.named_parameters():
        if parameter.grad is None:
            continue
        for wanted, piece in unfused(name, parameter.grad, ours.config, table):
            written = written_name(table, wanted)
            assert written is not None
            key, transposed = written
            gradient = expected.get(key, expected.get(key.removeprefix(prefix)))
            assert gradient is not None, key
            differences.append(float(((piece.T if transposed else piece) - gradient).abs().max()))
    return max(differences)


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_is_bit_exact(name: str, tmp_path: Path) -> None:
    theirs = reference(name, tmp_path / "theirs")
    described = describe(tmp_path / "theirs")
    assert described is not None
    stored = {name: getattr(described.config, name) for name in STORED}
    ours = load_model(tmp_path / "theirs", **stored)
    save_model(ours, tmp_path / "ours")
    again = load_model(tmp_path / "ours", **stored)
    export_model(again, tmp_path / "back")
    back = type(theirs).from_pretrained(tmp_path / "back").eval()
    for (key, before), after in zip(theirs.state_dict().items(), back.state_dict().values(), strict=True):
        assert torch.equal(before, after), key
    arguments = their_arguments(batch(segments="gpt" not in name))
    with torch.no_grad():
        first, second = theirs(**arguments), back(**arguments)
    assert torch.equal(first[0], second[0])


def test_segments_may_be_tokens(tmp_path: Path) -> None:
    """As CDial-GPT marks who speaks."""
    theirs, ours = reference("gpt-lm", tmp_path), load_model(tmp_path, head="lm", segments_as_tokens=True)
    values = batch(segments=True)
    values["segment_ids"] += 7
    with torch.no_grad():
        result, expected = ours(**values), theirs(**their_arguments(values))
        plain = ours(values["token_ids"], attention_mask=values["attention_mask"]).logits
    real = values["attention_mask"].bool()
    compare(result, expected, real, "lm")
    assert not torch.allclose(plain[real], expected.logits[real], atol=1e-2)


def test_a_bert_with_a_narrow_word_table(tmp_path: Path) -> None:
    """bert4keras' names for it; the computation is that of an ELECTRA generator, whose map has a place of its own."""
    theirs = reference("electra-generator", tmp_path / "theirs")
    renamed = {}
    for key, tensor in theirs.state_dict().items():
        for old, new in (
            ("electra.embeddings_project", "bert.encoder.embedding_hidden_mapping_in"),
            ("generator_predictions.dense", "cls.predictions.transform.dense"),
            ("generator_predictions.LayerNorm", "cls.predictions.transform.LayerNorm"),
            ("generator_lm_head.bias", "cls.predictions.bias"),
            ("electra.", "bert."),
        ):
            if key.startswith(old):
                renamed[key.replace(old, new, 1)] = tensor.clone()
                break
    (tmp_path / "bert").mkdir()
    save_file(renamed, tmp_path / "bert" / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "bert" / "config.json").write_text(json.dumps(SIZES | {"model_type": "bert", "embedding_size": 24}))
    ours = load_model(tmp_path / "bert", head="mlm")
    assert ours.config.family == "bert"
    assert not ours.load_report.unexpected
    values = batch(segments=True)
    with torch.no_grad():
        compare(ours(**values), theirs(**their_arguments(values)), values["attention_mask"].bool(), "mlm")
    with pytest.raises(InputError, match="embedding_size 24 has no counterpart"):
        export_model(ours, tmp_path / "back")


def test_every_published_form_of_names_loads(tmp_path: Path) -> None:
    """Old files say gamma and beta, drop the prefix, carry position_ids, or store the tied decoder."""
    theirs = reference("bert-mlm", tmp_path / "theirs")
    state = {
        key.removeprefix("bert.")
        .replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in theirs.state_dict().items()
    }
    state["embeddings.position_ids"] = torch.arange(40)[None]
    (tmp_path / "old").mkdir()
    torch.save(state, tmp_path / "old" / "pytorch_model.bin")
    (tmp_path / "old" / "config.json").write_text((tmp_path / "theirs" / "config.json").read_text())
    ours, old = load_model(tmp_path / "theirs", head="mlm"), load_model(tmp_path / "old", head="mlm")
    for key, value in ours.state_dict().items():
        assert torch.equal(value, old.state_dict()[key]), key
    assert not old.load_report.unexpected
