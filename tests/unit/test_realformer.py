"""RealFormer: raw scores summed over the layers, the mask added after (arXiv 2012.11747)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from nlpx.errors import InputError
from nlpx.models.attention import AttentionContext, ResidualScores, SelfAttention
from nlpx.models.checkpoints.save import export_model
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import NoisePool
from nlpx.models.masks import additive
from nlpx.models.transformer import Transformer


def config(**choices: Any) -> ModelConfig:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_layers": 3, "num_attention_heads": 4, "intermediate_size": 24}
    return ModelConfig(**(sizes | choices))


def model_of(**choices: Any) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(config(**choices)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def seen(model: Transformer, *arguments: Any, **keywords: Any) -> list[dict[str, Tensor]]:
    """Per layer of one call: query and key (B, H, T, d), the residual scores and the attention weights."""
    found: list[dict[str, Tensor]] = []
    eager = SelfAttention._eager

    def spy(self, query, key, value, context, previous):
        mixed, scores = eager(self, query, key, value, context, previous)
        raw = query @ key.transpose(2, 3) * self.scale
        if context.relative is not None:
            raw = raw + torch.einsum("bhid,ijd->bhij", query, context.relative) * self.scale
        else:
            width = key.shape[2]
            everything = torch.eye(width).expand(*key.shape[:2], width, width)
            weights, _ = eager(self, query, key, everything, context, previous)
        found.append(
            {"raw": raw, "total": scores.total} | ({} if context.relative is not None else {"weights": weights})
        )
        return mixed, scores

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(SelfAttention, "_eager", spy)
        model(*arguments, **keywords)
    return found


IDS = torch.tensor([[5, 9, 31, 2, 7, 7], [3, 4, 8, 8, 0, 0]])
REAL = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])


@pytest.mark.parametrize("residual", ["sum", "mean"])
def test_one_layer_is_the_plain_model(residual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlpx.models.attention.eager_is_faster", lambda query, dropout: True)
    plain, ours = (model_of(num_layers=1, residual_scores=name) for name in ("none", residual))
    expected, got = (model(IDS, attention_mask=REAL).last_hidden_state for model in (plain, ours))
    assert torch.equal(expected, got)
    deeper = [model_of(num_layers=2, residual_scores=name)(IDS).last_hidden_state for name in ("none", residual)]
    assert not torch.allclose(*deeper)


def test_it_costs_no_parameters() -> None:
    shapes = [
        {name: p.shape for name, p in model_of(residual_scores=name).named_parameters()} for name in ("none", "sum")
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("norm_place", ["post", "pre"])
@pytest.mark.parametrize("share_layers", ["none", "all"])
def test_the_sum_grows_by_each_layers_raw_scores(norm_place: str, share_layers: str) -> None:
    model = model_of(residual_scores="sum", num_layers=4, norm_place=norm_place, share_layers=share_layers)
    layers = seen(model, IDS, attention_mask=REAL)
    assert len(layers) == 4
    before = torch.zeros_like(layers[0]["raw"])
    for layer in layers:
        torch.testing.assert_close(layer["total"] - before, layer["raw"], atol=1e-5, rtol=0)
        before = layer["total"]
    mask = additive(REAL.bool()[:, None, None], torch.float32)
    torch.testing.assert_close(layers[3]["weights"], (before + mask).softmax(-1))


def test_the_mean_divides_by_the_number_of_layers() -> None:
    layers = seen(model_of(residual_scores="mean", num_layers=4), IDS)
    torch.testing.assert_close(layers[3]["weights"], (layers[3]["total"] / 4).softmax(-1))


@pytest.mark.parametrize(("first_kept", "uniform"), [(1, False), (0, True)])
def test_layers_without_queries_repeat_the_scores_so_far(first_kept: int, uniform: bool) -> None:
    model = model_of(residual_scores="sum", num_layers=4)
    with torch.no_grad():
        for block in model.layers[first_kept:]:
            block.attention.query_key_value.weight[:16] = 0
            block.attention.query_key_value.bias[:16] = 0
    layers = seen(model, IDS, attention_mask=REAL)
    for layer in layers[1:]:
        assert torch.equal(layer["weights"], layers[0]["weights"])
    even = REAL[:, None, None].expand(2, 4, 6, 6) / REAL.sum(1)[:, None, None, None]
    assert torch.allclose(layers[0]["weights"], even) is uniform


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_hidden_positions_stay_hidden_through_48_layers(dtype: torch.dtype) -> None:
    model = model_of(residual_scores="sum", num_layers=48).to(dtype)
    layers = seen(model, IDS, attention_mask=REAL, mask="causal")
    assert len(layers) == 48
    hidden = ~(REAL.bool()[:, None, :] & torch.ones(6, 6, dtype=torch.bool).tril())[:, None].expand(2, 4, 6, 6)
    for layer in layers:
        assert not layer["weights"][hidden].any()
        assert layer["weights"].isfinite().all()
        torch.testing.assert_close(layer["weights"].float().sum(-1), torch.ones(2, 4, 6), atol=1e-2, rtol=0)
    assert layers[-1]["total"].abs().max() > 3 * layers[0]["total"].abs().max()
    assert layers[-1]["total"].abs().max() < 1e6  # the mask is not in it


def test_the_mean_of_equal_scores_changes_nothing() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(config(residual_scores="mean"), NoisePool()).eval()
    query, key = torch.randn(1, 4, 5, 4), torch.randn(1, 4, 5, 4)
    everything, context = torch.eye(5).expand(1, 4, 5, 5), AttentionContext()
    previous: ResidualScores | None = None
    weights = []
    for _ in range(6):
        mixed, previous = attention._eager(query, key, everything, context, previous)
        weights.append(mixed)
    for later in weights[1:]:
        torch.testing.assert_close(later, weights[0], atol=1e-6, rtol=0)
    assert previous is not None
    assert previous.num_layers == 6


def test_relative_positions_count_as_part_of_the_scores() -> None:
    layers = seen(model_of(residual_scores="sum", position="relative", max_relative_position=3), IDS)
    for before, layer in itertools.pairwise(layers):
        torch.testing.assert_close(layer["total"] - before["total"], layer["raw"], atol=1e-5, rtol=0)


def test_gradients_reach_earlier_layers_through_the_scores() -> None:
    """With the values of layer 1 cut off, its queries can act on the output through the sum alone."""
    for residual, arrives in (("none", False), ("sum", True)):
        model = model_of(residual_scores=residual, num_layers=2).train()
        for module in model.modules():
            if hasattr(module, "rate"):
                module.rate = 0.0
        with torch.no_grad():
            model.layers[0].attention.output.weight.zero_()
        model(IDS).last_hidden_state[..., 0].sum().backward()
        assert bool(model.layers[0].attention.query_key_value.weight.grad[:16].any()) is arrives


def test_dropout_and_training_run_in_bfloat16() -> None:
    model = model_of(residual_scores="sum", hidden_dropout=0.1, attention_dropout=0.1).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(IDS, attention_mask=REAL).last_hidden_state.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.layers.parameters())


def test_transformers_has_no_counterpart(tmp_path) -> None:
    with pytest.raises(InputError, match="residual_scores `sum` has no counterpart"):
        export_model(model_of(residual_scores="sum"), tmp_path)
