"""`query_positions`: the last block at some positions only gives what the whole block gives there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nlpx.errors import UsageError
from nlpx.models.cache import KeyValueCache
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer

ROWS, LENGTH, SEGMENTS = 3, 9, torch.tensor([[0] * 5 + [1] * 4] * 3)
PLACES = torch.tensor([[0, 4], [7, 2], [3, 3]])
PARTS: dict[str, dict[str, Any]] = {
    "learned": {},
    "rotary": {"position": "rotary"},
    "relative": {"position": "relative"},
    "hierarchical": {"position": "hierarchical", "max_position_embeddings": 4},
    "bucketed": {"position": "bucketed", "num_position_buckets": 4, "max_bucketed_distance": 6},
    "grover": {"norm_place": "grover"},
    "pre": {"norm_place": "pre", "feed_forward": "gated", "norm": "rms", "use_bias": False},
    "sum": {"residual_scores": "sum"},
    "mean, relative": {"residual_scores": "mean", "position": "relative"},
    "entropy invariant": {"attention_scale": "entropy_invariant", "position": "rotary", "entropy_invariant_floor": 2},
    "performer": {"attention": "performer", "position": "rotary"},
    "shared, narrow": {"share_layers": "all", "embedding_size": 8, "num_layers": 3},
    "conditional": {"condition_size": 4, "num_conditions": 3},
    "one layer": {"num_layers": 1},
}


def model_of(**choices: Any) -> Transformer:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    model = Transformer(ModelConfig(**(sizes | {"heads": ("lm",)} | choices))).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def token_ids(length: int = LENGTH) -> Tensor:
    return torch.randint(0, 40, (ROWS, length), generator=torch.Generator().manual_seed(0))


def there(states: Tensor) -> Tensor:
    return states[torch.arange(ROWS)[:, None], PLACES]


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
@pytest.mark.parametrize("choices", PARTS.values(), ids=PARTS)
@torch.no_grad()
def test_the_values_stay_the_same(choices: dict[str, Any], padded: bool) -> None:
    model = model_of(**choices)
    call: dict[str, Any] = {"attention_mask": torch.arange(LENGTH) < torch.tensor([[9], [8], [5]])} if padded else {}
    call |= {"condition": torch.tensor([0, 2, 1])} if "condition_size" in choices else {}
    whole = model(token_ids(), return_hidden_states=True, **call)
    some = model(token_ids(), query_positions=PLACES, return_hidden_states=True, **call)
    assert some.logits.shape == (ROWS, 2, 40)
    torch.testing.assert_close(some.logits, there(whole.logits), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(some.last_hidden_state, there(whole.last_hidden_state), atol=1e-6, rtol=1e-6)
    for ours, theirs in zip(some.hidden_states[:-1], whole.hidden_states[:-1], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("mask", ["causal", "unilm", torch.rand(ROWS, LENGTH, LENGTH) < 0.7], ids=["c", "u", "given"])
@pytest.mark.parametrize("scale", ["sqrt", "entropy_invariant"])
@torch.no_grad()
def test_every_mask(mask: Any, scale: str) -> None:
    model = model_of(attention_scale=scale, entropy_invariant_floor=2, type_vocab_size=2)
    whole = model(token_ids(), SEGMENTS, mask=mask).logits
    some = model(token_ids(), SEGMENTS, mask=mask, query_positions=PLACES).logits
    torch.testing.assert_close(some, there(whole), atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_after_a_cache() -> None:
    model = model_of(position="rotary")
    whole = model(token_ids(), mask="causal").logits
    cache = KeyValueCache(model.config, ROWS)
    model(token_ids()[:, :4], mask="causal", cache=cache)
    last = torch.full((ROWS, 1), LENGTH - 5)
    some = model(token_ids()[:, 4:], mask="causal", cache=cache, query_positions=last).logits
    torch.testing.assert_close(some[:, 0], whole[:, -1], atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_logits_at_some_of_them() -> None:
    model = model_of()
    every = model(token_ids(), query_positions=PLACES).logits.flatten(0, 1)
    chosen = model(token_ids(), query_positions=PLACES, lm_positions=torch.tensor([4, 1])).logits
    torch.testing.assert_close(chosen, every[[4, 1]], atol=1e-6, rtol=1e-6)


def test_gradients_are_those_of_the_whole() -> None:
    model = model_of(position="rotary", residual_scores="mean")
    found = []
    for logits in (there(model(token_ids()).logits), model(token_ids(), query_positions=PLACES).logits):
        model.zero_grad()
        logits.square().sum().backward()
        found.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    for whole, some in zip(*found, strict=True):
        torch.testing.assert_close(some, whole, atol=1e-4, rtol=1e-4)


def test_heads_that_read_elsewhere_are_left_out() -> None:
    model = model_of(pooler="tanh", heads=("lm", "sentence"))
    output = model(token_ids(), query_positions=PLACES)
    assert (output.pooled, output.heads.get("sentence")) == (None, None)
    assert output.logits is not None


def test_a_causal_performer_refuses() -> None:
    with pytest.raises(UsageError, match="causal performer"):
        model_of(attention="performer")(token_ids(), mask="causal", query_positions=PLACES)
