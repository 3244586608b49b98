"""Bundles of GPT and GPT2-ML by the names of bert4keras: against transformers, and against the plain formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nlpx import load_model
from nlpx.errors import InputError
from nlpx.models.checkpoints.save import export_model
from tf_bundle_writer import write_bundle

transformers = pytest.importorskip("transformers")

CONFIG: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.1,
}
IDS = torch.randint(40, (2, 11), generator=torch.Generator().manual_seed(0))


def bundle(folder: Path, variables: dict[str, np.ndarray], **config: Any) -> Path:
    folder.mkdir()
    write_bundle(folder / "bert_model.ckpt", variables)
    (folder / "bert_config.json").write_text(json.dumps(CONFIG | config))
    return folder


def test_gpt(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": 16}
    theirs = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**sizes, afn="relu")).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.2)
    variables = {}
    state = {key.removeprefix("transformer."): tensor.numpy() for key, tensor in theirs.state_dict().items()}
    variables["gpt/embeddings/word_embeddings"] = state["tokens_embed.weight"]
    variables["gpt/embeddings/position_embeddings"] = state["positions_embed.weight"]
    for layer in range(2):
        block, path = f"h.{layer}", f"gpt/transformer/layer_{layer}"
        for suffix, kind in (("weight", "kernel"), ("bias", "bias")):
            parts = np.split(state[f"{block}.attn.c_attn.{suffix}"], 3, axis=-1)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                variables[f"{path}/attention/self/{name}/{kind}"] = part
            for ours, name in (
                ("attn.c_proj", "attention/output/dense"),
                ("mlp.c_fc", "intermediate/dense"),
                ("mlp.c_proj", "output/dense"),
            ):
                variables[f"{path}/{name}/{kind}"] = state[f"{block}.{ours}.{suffix}"]
        for ours, name in (("ln_1", "attention/output/LayerNorm"), ("ln_2", "output/LayerNorm")):
            variables[f"{path}/{name}/gamma"] = state[f"{block}.{ours}.weight"]
            variables[f"{path}/{name}/beta"] = state[f"{block}.{ours}.bias"]
    model = load_model(bundle(tmp_path / "gpt", variables, hidden_act="relu"), head="lm")
    assert model.config.family == "gpt"
    assert model.config.norm_eps == 1e-12
    assert not model.load_report.unexpected
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, theirs(IDS).logits, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="mask `bidirectional` has no counterpart"):
        export_model(load_model(tmp_path / "gpt", mask="bidirectional"), tmp_path / "back")


def grover_variables() -> dict[str, Tensor]:
    """By the names of `GPT2_ML.variable_mapping`."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"embeddings/word_embed": (40, 24), "embeddings/pos_embed": (16, 24)}
    norms = ["embeddings/LayerNorm_embed_norm"]
    for layer in range(2):
        path = f"layer{layer:02d}"
        maps = [*(f"{part}_layer" for part in ("query", "key", "value")), "context_projection_layer"]
        for name, sizes in [*((one, (24, 24)) for one in maps), ("intermediate", (24, 96)), ("output", (96, 24))]:
            shapes |= {f"{path}/{name}/kernel": sizes, f"{path}/{name}/bias": sizes[1:]}
        norms += [f"{path}/LayerNorm_mlp_ln{number}" for number in (0, 1)]
    shapes |= {f"{norm}/{part}": (24,) for norm in norms for part in ("gamma", "beta")}
    return {f"newslm/{name}": torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def grover(given: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Logits by Grover's formulas: h = x + attention(x), y = norm(h + feed_forward(norm(h)))."""

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, (24,), given[f"newslm/{name}/gamma"], given[f"newslm/{name}/beta"], 1e-5)

    def dense(x: Tensor, name: str) -> Tensor:
        return x @ given[f"newslm/{name}/kernel"] + given[f"newslm/{name}/bias"]

    table = given["newslm/embeddings/word_embed"]
    x = norm(table[ids] + given["newslm/embeddings/pos_embed"][: ids.shape[1]], "embeddings/LayerNorm_embed_norm")
    hidden = torch.ones(ids.shape[1], ids.shape[1]).triu(1).bool()
    for layer in range(2):
        path = f"layer{layer:02d}"
        query, key, value = (
            dense(x, f"{path}/{part}_layer").unflatten(-1, (2, 12)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        scores = (query @ key.transpose(2, 3) / 12**0.5).masked_fill(hidden, -torch.inf)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        h = x + dense(mixed, f"{path}/context_projection_layer")
        inner = functional.gelu(dense(norm(h, f"{path}/LayerNorm_mlp_ln0"), f"{path}/intermediate"))
        x = norm(h + dense(inner, f"{path}/output"), f"{path}/LayerNorm_mlp_ln1")
    return x @ table.T


def test_gpt2_ml(tmp_path: Path) -> None:
    variables = grover_variables()
    arrays = {name: tensor.numpy() for name, tensor in variables.items()}
    model = load_model(bundle(tmp_path / "ml", arrays, hidden_act="gelu"), head="lm")
    assert model.config.family == "gpt2_ml"
    assert not model.load_report.unexpected
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, grover(variables, IDS), atol=1e-4, rtol=1e-4)
    model.save(tmp_path / "ours")
    again = load_model(tmp_path / "ours", head="lm")
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, model(IDS).logits)
    with pytest.raises(InputError, match="norm_place `grover` has no counterpart"):
        export_model(model, tmp_path / "back")
