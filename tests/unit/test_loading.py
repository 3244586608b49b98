"""A checkpoint becomes a model without drawing or copying weights; what it lacks starts as in a new model."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nlpx import load_model
from nlpx.models.checkpoints.load import load_trained
from nlpx.models.checkpoints.save import save_model
from nlpx.models.config import ModelConfig
from nlpx.models.initialisation import BOUND, Undrawn, truncated_normal_
from nlpx.models.transformer import Transformer

SIZES = {"hidden_size": 16, "num_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 33}


def saved(folder, **choices) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(ModelConfig(**(SIZES | choices)))
    save_model(model, folder)
    return model


@pytest.mark.parametrize("loaded", [load_model, load_trained])
def test_nothing_is_drawn(tmp_path, loaded):
    saved(tmp_path)
    before = torch.get_rng_state()
    model = loaded(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    for name, stored in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(model.state_dict()[name], stored), name


def test_what_the_checkpoint_lacks_starts_as_in_a_new_model(tmp_path):
    saved(tmp_path)
    choices = {"num_labels": 5, "condition_size": 4, "num_conditions": 3, "condition_hidden_size": 6}
    torch.manual_seed(1)
    model = load_model(tmp_path, head="classification", **choices)
    torch.manual_seed(1)
    again = load_model(tmp_path, head="classification", **choices)
    parameters = dict(model.named_parameters())
    new = [name for name in model.load_report.new if name in parameters]
    assert any("classifier" in name for name in new)
    assert any("scale.weight" in name for name in new)
    std = model.config.initializer_range
    for name in new:
        value = parameters[name].detach()
        assert torch.equal(value, dict(again.named_parameters())[name])
        if name.endswith("bias") or ".scale.weight" in name or ".offset.weight" in name:
            assert not value.any(), name
        else:
            assert 0 < value.abs().max() <= BOUND * std, name


def test_a_part_that_may_be_missing_is_drawn(tmp_path):
    saved(tmp_path)
    model = load_model(tmp_path, head="mlm", allow_partial=("lm_head*",))
    new = {*model.load_report.new, *model.load_report.missing}
    assert new
    weights = [value.detach() for name, value in model.named_parameters() if name in new and value.dim() > 1]
    assert weights
    assert all(0 < weight.abs().max() <= BOUND * model.config.initializer_range for weight in weights)


def test_layers_that_are_shared_in_the_file_alone_are_trained_apart(tmp_path):
    saved(tmp_path, share_layers="all")
    model = load_model(tmp_path, share_layers="none").train()
    layers = [layer.feed_forward.input.weight for layer in model.layers]
    assert len({layer.data_ptr() for layer in layers}) == len(layers)
    before = [layer.detach().clone() for layer in layers]
    with torch.no_grad():
        layers[0].add_(1)
    assert torch.equal(layers[0], before[0] + 1)
    assert all(torch.equal(layer, kept) for layer, kept in zip(layers[1:], before[1:], strict=True))


def test_training_leaves_the_file_as_it_is(tmp_path):
    saved(tmp_path)
    file = tmp_path / "model.safetensors"
    before = file.read_bytes()
    model = load_model(tmp_path).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    assert file.read_bytes() == before
    save_model(model, tmp_path)  # onto the file that its tensors were mapped from
    assert torch.equal(load_model(tmp_path).embeddings.word_embeddings.weight, model.embeddings.word_embeddings.weight)


def test_undrawn_leaves_parameters_alone_and_nothing_else():
    before = torch.get_rng_state()
    with Undrawn():
        linear, other = nn.Linear(400, 300), torch.zeros(3)
        truncated_normal_(linear.weight, std=1.0)
        nn.init.kaiming_uniform_(linear.weight)
        other += 1
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(linear.weight, nn.Parameter)
    assert linear.weight.requires_grad
    assert torch.equal(other, torch.ones(3))
    drawn: Tensor = truncated_normal_(linear.weight.detach(), std=1.0)
    assert drawn.abs().max() <= BOUND
