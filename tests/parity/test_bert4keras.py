"""Outputs equal bert4keras': its TensorFlow checkpoints are loaded and its recorded answers compared.

`fixtures/make_bert4keras.py` made both. Whatever has no other living implementation is proven here: NEZHA, RoFormerV2,
conditional norms, hierarchical positions, UniLM masks, free key sizes, cut vocabularies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlpx import load_model
from nlpx.errors import InputError
from nlpx.models.checkpoints.tf_checkpoint import TFCheckpoint
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "bert4keras"
TOLERANCE = 1e-5
FAMILIES = {"roformer": "roformer", "nezha": "nezha"}  # their variables are the same: a bundle cannot tell


def numbers(folder: str, case: str) -> dict[str, torch.Tensor]:
    with np.load(FIXTURES / folder / "numbers.npz", allow_pickle=False) as arrays:
        found = {
            name.removeprefix(f"{case}."): torch.from_numpy(arrays[name])
            for name in arrays.files
            if name.startswith(f"{case}.")
        }
    return {name: tensor.long() if name.endswith("_ids") else tensor for name, tensor in found.items()}


def load(folder: str, **choices: Any) -> Any:
    return load_model(FIXTURES / folder, family=FAMILIES.get(folder), **choices)


def call(model: Any, recorded: dict[str, torch.Tensor], **choices: Any) -> Any:
    """Run the recorded inputs; id 0 is padding, as in bert4keras."""
    token_ids = recorded["token_ids"]
    inputs = {name: recorded[name] for name in ("segment_ids", "condition") if name in recorded}
    with torch.no_grad():
        return model(token_ids, attention_mask=token_ids != 0, **inputs, **choices)


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert actual.shape == expected.shape
    assert expected.abs().max() > 0.1  # a recorded output that is nearly zero would prove nothing
    assert (actual - expected).abs().max().item() < TOLERANCE


CASES = [
    ("bert", "encoder", {}, {}),
    ("bert", "mlm", {"head": "mlm"}, {}),
    ("bert", "lm", {"head": "lm"}, {}),
    ("bert", "lm", {"head": "mlm"}, {"mask": "causal"}),
    ("bert", "unilm", {"head": "mlm"}, {"mask": "unilm"}),
    ("bert", "hierarchical", {"position": "hierarchical"}, {}),
    ("bert", "hierarchical_quarter", {"position": "hierarchical", "hierarchical_alpha": 0.25}, {}),
    ("bert", "hierarchical", {"max_position_embeddings": 40}, {}),
    ("bert_key_size", "mlm", {"head": "mlm"}, {}),
    ("roformer", "mlm", {"head": "mlm"}, {}),
    ("roformer", "unilm", {"head": "mlm"}, {"mask": "unilm"}),
    ("roformer_v2", "mlm", {"head": "mlm"}, {}),
    ("nezha", "mlm", {"head": "mlm"}, {}),
    ("nezha", "unilm", {"head": "mlm"}, {"mask": "unilm"}),
    ("nezha", "far", {}, {}),
    ("gpt2", "lm", {"head": "lm"}, {}),
    ("albert", "mlm", {"head": "mlm"}, {}),
    ("albert", "unshared", {"share_layers": "none"}, {}),
    *((folder, "pooler_tanh", {"pooler": "tanh"}, {}) for folder in ("bert", "albert", "roformer", "nezha")),
    *((folder, "pooler_linear", {"pooler": "linear"}, {}) for folder in ("bert", "roformer", "nezha")),
]


@pytest.mark.parametrize(("folder", "case", "choices", "call_choices"), CASES)
def test_outputs(folder: str, case: str, choices: dict[str, Any], call_choices: dict[str, Any]) -> None:
    recorded = numbers(folder, case)
    output = call(load(folder, **choices), recorded, **call_choices)
    compared = [name for name in ("last_hidden_state", "pooled", "logits") if name in recorded]
    assert compared
    for name in compared:
        assert_close(getattr(output, name), recorded[name])


def test_sentence_head() -> None:
    recorded = numbers("bert", "sentence")
    output = call(load("bert", head="sentence", pooler="tanh"), recorded)
    # bert4keras returns the pooled vector and, fixed, the softmax of the two scores.
    assert_close(output.pooled, recorded["pooled"])
    assert_close(output.heads["sentence"].softmax(dim=-1), recorded["sentence_probabilities"])


def test_discriminator() -> None:
    recorded = numbers("electra", "discriminator")
    output = call(load("electra", head="discriminator"), recorded)
    assert_close(output.last_hidden_state, recorded["last_hidden_state"])
    assert_close(output.logits, recorded["discriminator"].squeeze(-1))


KEEP_TOKENS = [0, 1, 2, 3, 4, 7, 36, 11, 9, 21, 5, 30]


@pytest.mark.parametrize(
    ("case", "choices"),
    [
        ("keep_tokens", {"keep_tokens": KEEP_TOKENS}),
        ("compound_tokens", {"compound_tokens": [[5, 6], [30, 31, 32]]}),
        # Compound ids are rows of the table that is already cut.
        ("keep_and_compound", {"keep_tokens": KEEP_TOKENS, "compound_tokens": [[5, 6], [7, 8, 9]]}),
    ],
)
def test_cut_vocabularies(case: str, choices: dict[str, Any]) -> None:
    recorded = numbers("bert", case)
    model = load("bert", head="mlm", **choices)
    assert_close(model.embeddings.word_embeddings.weight.detach(), recorded["word_embeddings"])
    output = call(model, recorded)
    assert_close(output.last_hidden_state, recorded["last_hidden_state"])
    assert_close(output.logits, recorded["logits"])


@pytest.mark.parametrize(
    ("case", "choices"),
    [
        ("condition", {"condition_size": 6}),
        ("condition_hidden", {"condition_size": 6, "condition_hidden_size": 5, "condition_hidden_act": "tanh"}),
    ],
)
def test_conditional_norms(case: str, choices: dict[str, Any]) -> None:
    recorded = numbers("bert", case)
    model = load("bert", head="mlm", **choices)
    norms = {"Embedding-Norm": model.embeddings.norm, "MLM-Norm": model.lm_head.norm}
    for index, layer in enumerate(model.layers):
        norms[f"Transformer-{index}-MultiHeadSelfAttention-Norm"] = layer.attention_norm
        norms[f"Transformer-{index}-FeedForward-Norm"] = layer.feed_forward_norm
    parts = {"gamma_dense": "scale", "beta_dense": "offset"} | ({"hidden_dense": "hidden"} if "hidden" in case else {})
    for norm_name, norm in norms.items():
        for theirs, ours in parts.items():
            kernel = recorded.pop(f"{norm_name}.{theirs}")
            getattr(norm.condition, ours).weight.data = kernel.T.contiguous()
    assert not [name for name in recorded if "dense" in name]  # every recorded map has found its place
    output = call(model, recorded)
    assert_close(output.last_hidden_state, recorded["last_hidden_state"])
    assert_close(output.logits, recorded["logits"])


def test_gpt2_arrangement() -> None:
    """bert4keras names GPT-2's variables in a style of its own, so they are put in place here."""
    bundle = TFCheckpoint(FIXTURES / "gpt2" / "bert_model.ckpt")
    model = Transformer(
        ModelConfig(
            family="gpt2",
            vocab_size=40,
            hidden_size=24,
            num_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            type_vocab_size=0,
            norm_place="pre",
            norm_eps=1e-5,
            embedding_norm=False,
            mask="causal",
            heads=("lm",),
            lm_transform=False,
            lm_bias=False,
        )
    )
    model.load_state_dict(gpt2_state(bundle, num_layers=2))
    recorded = numbers("gpt2", "lm")
    output = call(model.eval(), recorded)
    assert_close(output.last_hidden_state, recorded["last_hidden_state"])
    assert_close(output.logits, recorded["logits"])


def gpt2_state(bundle: TFCheckpoint, *, num_layers: int) -> dict[str, torch.Tensor]:
    def linear(ours: str, *theirs: str) -> dict[str, torch.Tensor]:
        kernels = [torch.from_numpy(bundle.read(f"gpt/{name}/kernel")).T for name in theirs]
        biases = [torch.from_numpy(bundle.read(f"gpt/{name}/bias")) for name in theirs]
        return {f"{ours}.weight": torch.cat(kernels), f"{ours}.bias": torch.cat(biases)}

    def norm(ours: str, theirs: str) -> dict[str, torch.Tensor]:
        pairs = (("weight", "gamma"), ("bias", "beta"))
        return {f"{ours}.{to}": torch.from_numpy(bundle.read(f"gpt/{theirs}/LayerNorm/{part}")) for to, part in pairs}

    state = norm("norm", "output")
    for table in ("word_embeddings", "position_embeddings"):
        state[f"embeddings.{table}.weight"] = torch.from_numpy(bundle.read(f"gpt/embeddings/{table}"))
    for i in range(num_layers):
        ours, theirs = f"layers.{i}", f"transformer/layer_{i}"
        inputs = [f"{theirs}/attention/self/{part}" for part in ("query", "key", "value")]
        state |= linear(f"{ours}.attention.query_key_value", *inputs)
        state |= linear(f"{ours}.attention.output", f"{theirs}/attention/output/dense")
        state |= linear(f"{ours}.feed_forward.input", f"{theirs}/intermediate/dense")
        state |= linear(f"{ours}.feed_forward.output", f"{theirs}/output/dense")
        state |= norm(f"{ours}.attention_norm", f"{theirs}/attention/input")
        state |= norm(f"{ours}.feed_forward_norm", f"{theirs}/input")
    return state


@pytest.mark.parametrize("folder", ["bert", "bert_key_size", "albert", "electra", "roformer_v2"])
def test_families_that_their_variables_tell(folder: str) -> None:
    assert load(folder).config.family == folder.removesuffix("_key_size")


@pytest.mark.parametrize("folder", ["roformer", "nezha"])
def test_families_that_only_the_user_can_tell(folder: str) -> None:
    with pytest.raises(InputError, match="neither the configuration nor the variables") as caught:
        load_model(FIXTURES / folder)
    assert "--family roformer" in str(caught.value.hint)
    assert "--family nezha" in str(caught.value.hint)
