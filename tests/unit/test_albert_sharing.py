"""One block for every layer (ALBERT, arXiv 1909.11942), and the same weights loaded into layers of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nlpx import load_model
from nlpx.models.checkpoints.checkpoint import SAFETENSORS
from nlpx.models.checkpoints.save import export_model, save_model
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer

IDS = torch.tensor([[5, 9, 31, 2, 7, 7], [3, 4, 8, 8, 0, 0]])
REAL = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])


def config(**choices: Any) -> ModelConfig:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}
    fixed = {"embedding_size": 8, "share_layers": "all", "heads": ("lm",), "family": "albert"}
    return ModelConfig(**(sizes | fixed | choices))


def model_of(**choices: Any) -> Transformer:
    model = Transformer(config(**choices)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(IDS, attention_mask=REAL).logits


def test_the_number_of_parameters_does_not_depend_on_the_depth() -> None:
    def count(num_layers: int, share_layers: str) -> int:
        made = model_of(num_layers=num_layers, share_layers=share_layers)
        return sum(parameter.numel() for parameter in made.parameters())

    assert count(2, "all") == count(12, "all") == count(1, "none")
    layer = sum(parameter.numel() for parameter in model_of(num_layers=1).layers.parameters())
    assert count(12, "none") - count(12, "all") == 11 * layer


@pytest.mark.parametrize("write", [save_model, export_model])
def test_nor_does_the_size_of_the_file(write: Any, tmp_path: Path) -> None:
    sizes = []
    for num_layers in (2, 12):
        write(model_of(num_layers=num_layers), tmp_path / str(num_layers))
        sizes.append((tmp_path / str(num_layers) / SAFETENSORS).stat().st_size)
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_depth_still_matters_for_what_is_computed() -> None:
    assert not torch.allclose(logits(model_of(num_layers=2)), logits(model_of(num_layers=12)))


CHOICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "realformer": {"residual_scores": "sum"},
    "mean": {"residual_scores": "mean"},
    "entropy": {"attention_scale": "entropy_invariant", "position": "rotary"},
    "performer": {"attention": "performer", "performer_features": 12},
}


@pytest.mark.parametrize("name", CHOICES)
def test_unshared_layers_start_equal(name: str, tmp_path: Path) -> None:
    shared = model_of(**CHOICES[name])
    save_model(shared, tmp_path)
    again, apart = (load_model(tmp_path, head="mlm", share_layers=choice) for choice in ("all", "none"))
    assert (len(again.layers), len(apart.layers)) == (1, 4)
    assert torch.equal(logits(again), logits(shared))
    assert torch.equal(logits(apart), logits(shared))
    assert not apart.load_report.missing
    assert not apart.load_report.unexpected
    assert not apart.load_report.new
    apart.layers[0].feed_forward.output.bias.data += 1  # four blocks of their own, not one under four names
    assert not torch.equal(apart.layers[0].feed_forward.output.bias, apart.layers[1].feed_forward.output.bias)
    save_model(apart, tmp_path / "apart")
    assert torch.equal(logits(load_model(tmp_path / "apart", head="mlm")), logits(apart))


def test_a_published_albert_starts_unshared_too(tmp_path: Path) -> None:
    shared = model_of()
    export_model(shared, tmp_path)
    apart = load_model(tmp_path, head="mlm", share_layers="none")
    assert len(apart.layers) == 4
    torch.testing.assert_close(logits(apart), logits(shared), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CHOICES)
def test_the_shared_gradient_is_the_sum_of_the_unshared(name: str, tmp_path: Path) -> None:
    shared = model_of(**CHOICES[name])
    save_model(shared, tmp_path)
    apart = load_model(tmp_path, head="mlm", share_layers="none")
    for model in (shared, apart):
        model(IDS, attention_mask=REAL).logits.log_softmax(-1)[..., 3].mean().backward()
    for parameter, gradient in ((n, p.grad) for n, p in shared.layers[0].named_parameters()):
        total = sum(layer.get_parameter(parameter).grad for layer in apart.layers)
        torch.testing.assert_close(gradient, total, atol=1e-5, rtol=0)
    for parameter, value in shared.named_parameters():
        if not parameter.startswith("layers."):
            torch.testing.assert_close(value.grad, apart.get_parameter(parameter).grad, atol=1e-5, rtol=0)
