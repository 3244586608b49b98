"""Activation checkpointing and compiling: the same numbers by another way."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nlpx.errors import UsageError
from nlpx.train.blocks import blocks, checkpoint_blocks

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toy_run
import transformer_run

PARTS = [
    {},
    {"norm_place": "pre", "share_layers": "all"},
    {"position": "learned", "max_position_embeddings": 9, "residual_scores": "mean"},
    {"attention": "performer", "performer_features": 8},
]


@pytest.mark.parametrize("choices", PARTS, ids=str)
def test_checkpointing_changes_no_bit_of_a_run_with_dropout(choices):
    """Losses, gradients and weights: masks are drawn again, and what is drawn later is as if they were not."""
    found = []
    for activation_checkpointing in (False, True):
        training, config = transformer_run.build(
            model={"dropout": 0.3} | choices, activation_checkpointing=activation_checkpointing, ema=True
        )
        found.append((transformer_run.run(training, config, evaluate=True), transformer_run.weights(training)))
    (plain, weights), (checkpointed, others) = found
    assert plain == checkpointed
    assert all(torch.equal(weights[name], tensor) for name, tensor in others.items())


def test_blocks_are_computed_again_only_where_a_gradient_is_wanted():
    model = transformer_run.build_model(dropout=0.3)
    calls = []
    for layer in model.layers:
        layer.attention.register_forward_hook(lambda *_: calls.append(1))
    checkpoint_blocks(model)
    batch = transformer_run.collate([0, 1, 2])
    loss = transformer_run.objective(model, batch).loss
    assert len(calls) == 3
    loss.backward()
    assert len(calls) == 6
    with torch.no_grad():
        transformer_run.objective(model, batch)
    assert len(calls) == 9


def test_checkpointing_keeps_fewer_activations():
    def kept(**settings):
        model = transformer_run.build_model()
        if settings:
            checkpoint_blocks(model)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.numel()) or tensor, lambda x: x
        ):
            transformer_run.objective(model, transformer_run.collate(list(range(20))))
        return sum(sizes)

    assert kept(checkpointed=True) < 0.5 * kept()


def test_names_of_parameters_stay():
    plain, checkpointed = transformer_run.build_model(), transformer_run.build_model()
    checkpoint_blocks(checkpointed)
    assert list(plain.state_dict()) == list(checkpointed.state_dict())


def test_a_checkpointed_run_goes_on_as_a_plain_one(tmp_path):
    first, config = transformer_run.build(activation_checkpointing=True)
    losses = transformer_run.run(first, config, stop=4)[0]
    first.save(tmp_path / "last")
    unbroken, config = transformer_run.build()
    expected = transformer_run.run(unbroken, config)[0]
    again, config = transformer_run.build()
    again.load(tmp_path / "last")
    assert losses + transformer_run.run(again, config)[0] == expected


def test_a_model_without_blocks_is_refused():
    with pytest.raises(UsageError, match=r"`train\.activation_checkpointing`"):
        toy_run.build(activation_checkpointing=True)


def test_blocks_are_the_longest_list():
    model = nn.Module()
    model.heads = nn.ModuleList(nn.Linear(1, 1) for _ in range(2))
    model.inner = nn.Module()
    model.inner.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
    assert blocks(model) == list(model.inner.layers)
    assert blocks(nn.Linear(1, 1)) == []


SMALL = {"dropout": 0.0, "num_layers": 1}


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_compiled_model_learns_the_same(checkpointing):
    settings = {"steps": 4, "ema": True}
    compiled, config = transformer_run.build(
        model=SMALL, compile=True, activation_checkpointing=checkpointing, **settings
    )
    found = transformer_run.run(compiled, config, evaluate=True)
    plain, config = transformer_run.build(model=SMALL, **settings)
    expected = transformer_run.run(plain, config, evaluate=True)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.slow
def test_a_compiled_model_with_dropout_trains():
    compiled, config = transformer_run.build(model=SMALL | {"dropout": 0.1}, compile=True, steps=4)
    losses, norms, _ = transformer_run.run(compiled, config)
    plain, config = transformer_run.build(model=SMALL | {"dropout": 0.1}, steps=4)
    assert losses == pytest.approx(transformer_run.run(plain, config)[0], abs=0.3)
    assert len(set(losses)) == len(losses)
    assert min(norms) > 0


@pytest.mark.slow
def test_compiling_works_in_two_processes(tmp_path):
    compiled = {"model": SMALL, "compile": True, "steps": 4}
    runs = {"ddp": compiled, "fsdp": compiled | {"parallel": "fsdp", "activation_checkpointing": True}}
    transformer_run.torchrun(tmp_path, runs)
    (losses, _, _), _ = transformer_run.one_run(model=SMALL, steps=4)
    for name in runs:
        found = json.loads((tmp_path / f"{name}.json").read_text())
        assert found[0][0] == found[1][0] == pytest.approx(losses, abs=1e-4)
