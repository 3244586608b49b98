"""The entropy-invariant scale: log n / log 512 over the visible keys of each row (kexue.fm/archives/8823)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nlpx import load_model
from nlpx.errors import InputError
from nlpx.models.checkpoints.save import export_model, save_model
from nlpx.models.config import ModelConfig
from nlpx.models.logit_scale import entropy_invariant_factor
from nlpx.models.transformer import Transformer


def model_of(**choices: Any) -> Transformer:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    model = Transformer(ModelConfig(**({"attention_scale": "entropy_invariant"} | sizes | choices))).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def factors(model: Transformer, token_ids: Tensor, **call: Any) -> Tensor:
    """The factor of each row as all layers of a call get it."""
    found: list[Tensor] = []
    hook = model.layers[0].register_forward_pre_hook(lambda module, inputs: found.append(inputs[1].logit_scale))
    model(token_ids, **call)
    hook.remove()
    return found[0]


@pytest.mark.parametrize(
    ("keys", "expected"), [(16, 4 / 9), (64, 6 / 9), (128, 7 / 9), (256, 8 / 9), (512, 1.0), (1024, 10 / 9), (1, 4 / 9)]
)
def test_the_factor(keys: int, expected: float) -> None:
    got = entropy_invariant_factor(torch.tensor(keys), base=512, floor=16)
    assert got.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("eager", [True, False])
def test_512_keys_are_standard_attention(eager: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlpx.models.attention.eager_is_faster", lambda query, dropout: eager)
    plain, ours = (model_of(position="rotary", attention_scale=name) for name in ("sqrt", "entropy_invariant"))
    for length, equal in ((512, True), (64, False)):
        token_ids = torch.randint(0, 40, (1, length), generator=torch.Generator().manual_seed(0))
        difference = (plain(token_ids).last_hidden_state - ours(token_ids).last_hidden_state).abs().max()
        assert (difference < 1e-7) == equal


def entropy(length: int, *, scaled: bool) -> float:
    """Mean entropy of one query over keys, all on the sphere of radius sqrt(64) in 64 dimensions."""
    generator = torch.Generator().manual_seed(length)
    vectors = torch.randn(2, length, 64, generator=generator, dtype=torch.float64)
    query, key = vectors / vectors.norm(dim=-1, keepdim=True) * 8
    factor = entropy_invariant_factor(torch.tensor(length), base=512, floor=16).double() if scaled else 1.0
    logs = (query[:64] @ key.T / 8 * factor).log_softmax(dim=-1)
    return float(-(logs.exp() * logs).sum(-1).mean())


def test_entropy_grows_more_slowly_with_the_length() -> None:
    standard, ours = ({n: entropy(n, scaled=scaled) for n in (64, 512, 2048)} for scaled in (False, True))
    assert standard[64] == pytest.approx(3.68, abs=0.05)
    assert standard[2048] == pytest.approx(7.14, abs=0.05)
    assert ours[64] == pytest.approx(3.94, abs=0.05)
    assert ours[2048] == pytest.approx(6.91, abs=0.05)
    assert ours[512] == pytest.approx(5.756, abs=0.05)
    assert ours[512] == pytest.approx(standard[512], abs=1e-6)
    slopes = [(found[2048] - found[64]) / math.log(2048 / 64) for found in (standard, ours)]
    assert slopes[1] < slopes[0] - 0.1


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("position", ["learned", "rotary", "relative"])
def test_padding_changes_nothing(position: str, eager: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlpx.models.attention.eager_is_faster", lambda query, dropout: eager)
    model = model_of(position=position, entropy_invariant_floor=2, entropy_invariant_base=8)
    token_ids = torch.randint(1, 40, (1, 7))
    padded = torch.cat([token_ids, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    attention_mask = (torch.arange(12) < 7).long()[None]
    for mask in ("bidirectional", "causal"):
        short = model(token_ids, mask=mask).last_hidden_state
        long = model(padded, attention_mask=attention_mask, mask=mask).last_hidden_state
        torch.testing.assert_close(long[:, :7], short, atol=1e-6, rtol=0)


def test_rows_count_the_keys_they_see() -> None:
    model = model_of(entropy_invariant_floor=2, entropy_invariant_base=8, max_position_embeddings=16)
    token_ids = torch.randint(1, 40, (2, 6))

    def by_hand(counts: list[list[int]]) -> Tensor:
        return torch.tensor(counts).clamp(min=2).log()[:, None, :, None] / math.log(8)

    torch.testing.assert_close(factors(model, token_ids), by_hand([[6]]))
    torch.testing.assert_close(factors(model, token_ids, mask="causal"), by_hand([[1, 2, 3, 4, 5, 6]]))
    real = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    torch.testing.assert_close(factors(model, token_ids, attention_mask=real), by_hand([[6], [3]]))
    causal = factors(model, token_ids, attention_mask=real, mask="causal")
    torch.testing.assert_close(causal, by_hand([[1, 2, 3, 4, 5, 6], [1, 2, 3, 3, 3, 3]]))
    segments = torch.tensor([[0, 0, 0, 0, 1, 1]] * 2)
    unilm = factors(model, token_ids, segment_ids=segments, mask="unilm")
    torch.testing.assert_close(unilm, by_hand([[4, 4, 4, 4, 5, 6]] * 2))
    blocks = torch.block_diag(torch.ones(2, 2), torch.ones(4, 4)).bool()
    torch.testing.assert_close(factors(model, token_ids, mask=blocks), by_hand([[2, 2, 4, 4, 4, 4]]))


def test_both_forms_agree_and_so_do_their_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    real = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    token_ids = torch.randint(1, 40, (2, 9), generator=torch.Generator().manual_seed(0))
    for eager in (True, False):
        monkeypatch.setattr("nlpx.models.attention.eager_is_faster", lambda query, dropout, form=eager: form)
        model = model_of(entropy_invariant_floor=2, position="rotary")
        states = model(token_ids, attention_mask=real, mask="causal").last_hidden_state[real.bool()]
        states.square().sum().backward()
        found.append([states, *(parameter.grad for parameter in model.layers.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_gradient_against_finite_differences() -> None:
    def attend(query: Tensor, key: Tensor) -> Tensor:
        factor = entropy_invariant_factor(torch.tensor(40), base=512, floor=16).double()
        return ((query * factor) @ key.T / 2).softmax(-1)

    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(attend, inputs)


def test_a_bfloat16_model_runs() -> None:
    model = model_of().to(torch.bfloat16)
    assert model(torch.randint(0, 40, (2, 20))).last_hidden_state.isfinite().all()


def test_it_is_saved_and_not_exported(tmp_path) -> None:
    model = model_of(entropy_invariant_base=128, entropy_invariant_floor=4)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    token_ids = torch.randint(0, 40, (1, 8))
    assert torch.equal(model(token_ids).last_hidden_state, again(token_ids).last_hidden_state)
    with pytest.raises(InputError, match="attention_scale `entropy_invariant` has no counterpart"):
        export_model(model, tmp_path)
