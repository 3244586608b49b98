"""Performer attention: positive orthogonal random features (arXiv 2009.14794) against softmax attention."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from nlpx import load_model
from nlpx.errors import InputError, UsageError
from nlpx.models.checkpoints.plain import load_weights, save_weights
from nlpx.models.checkpoints.save import export_model, save_model
from nlpx.models.config import ModelConfig
from nlpx.models.performer import (
    CHUNK,
    RandomFeatures,
    approximation_error,
    default_features,
    draw_projection,
    performer_attention,
    positive_features,
)
from nlpx.models.transformer import Transformer

REDRAWN = 3


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def config(**choices: Any) -> ModelConfig:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return ModelConfig(**({"attention": "performer", "performer_redraw_steps": REDRAWN} | sizes | choices))


def model_of(**choices: Any) -> Transformer:
    model = Transformer(config(**choices)).eval()
    generator = seeded(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def normal(*shape: int, std: float = 0.5, number: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(number)) * std


def projections(model: Transformer) -> list[Tensor]:
    return [module.projection for module in model.modules() if isinstance(module, RandomFeatures)]


# The features


@pytest.mark.parametrize("orthogonal", [False, True])
def test_products_of_features_estimate_the_exponential(orthogonal: bool) -> None:
    """Without bias; for independent rows with relative variance (exp(|q + k|^2) - 1) / m."""
    query, key = normal(1, 16, std=0.15, number=1), normal(1, 16, std=0.15, number=2)
    num_features, draws = 64, 3000
    exact = (query @ key.T).exp().item()
    generator, found = seeded(3), []
    for _ in range(draws):
        projection = draw_projection(num_features, 16, generator=generator, orthogonal=orthogonal)
        features = positive_features(torch.cat([query, key]), projection)
        assert (features > 0).all()
        found.append(float(features[0] @ features[1]) / exact)
    estimates = torch.tensor(found)
    assert abs(estimates.mean() - 1) < 4 * estimates.std() / draws**0.5
    theory = ((float((query + key).square().sum().exp()) - 1) / num_features) ** 0.5
    if orthogonal:
        assert estimates.std() < theory * 1.05
    else:
        assert estimates.std().item() == pytest.approx(theory, rel=0.1)


def test_blocks_are_orthogonal_and_norms_are_those_of_normal_vectors() -> None:
    projection = draw_projection(8 * 2000, 8, generator=seeded(0))
    directions = torch.nn.functional.normalize(projection.double(), dim=1).unflatten(0, (-1, 8))
    products = directions @ directions.transpose(1, 2)
    torch.testing.assert_close(products, torch.eye(8).double().expand(2000, 8, 8), atol=1e-5, rtol=0)
    squares = projection.square().sum(dim=1)
    assert squares.mean().item() == pytest.approx(8, rel=0.03)  # chi square: mean d, variance 2 d
    assert squares.var().item() == pytest.approx(16, rel=0.06)
    norms = projection.norm(dim=1).unflatten(0, (-1, 8))
    assert abs(torch.corrcoef(norms.T)[0, 1].item()) < 0.1  # drawn one by one, not one a block


def test_directions_are_uniform_thanks_to_the_sign_correction() -> None:
    """The mean row of a bare QR is far from zero (0.164 for d = 16), and every row must be normal on its own."""
    directions = torch.nn.functional.normalize(draw_projection(16 * 1500, 16, generator=seeded(0)), dim=1)
    assert directions.mean(dim=0).norm() < 0.03
    each = directions.unflatten(0, (-1, 16)).mean(dim=0).norm(dim=1)  # d^-1/2-sized columns a row: 1 / sqrt(1500)
    assert each.max() < 2 / 1500**0.5


def test_the_number_of_features() -> None:
    assert default_features(64) == 266 == int(64 * math.log(64))
    assert default_features(1) == 1
    assert draw_projection(19, 8, generator=seeded(0)).shape == (19, 8)
    assert projections(model_of(performer_features=5))[0].shape == (5, 8)
    assert projections(model_of())[0].shape == (16, 8)


# The error against softmax attention, for rows that are normal with deviation 0.15, d = 16, n = 32

REPORTED = {16: 0.17, 256: 0.041, 4096: 0.0105, 16384: 0.0055}


def errors(sizes: list[int], *, orthogonal: bool, draws: int = 8) -> dict[int, float]:
    found = {}
    for size in sizes:
        values = []
        for number in range(draws):
            query, key = normal(32, 16, std=0.15, number=number), normal(32, 16, std=0.15, number=100 + number)
            generator = seeded(200 + number)
            values.append(approximation_error(query, key, size, generator=generator, orthogonal=orthogonal))
        found[size] = sum(values) / draws
    return found


def test_the_error_falls_with_the_root_of_the_number_of_features() -> None:
    sizes = list(REPORTED)
    independent, orthogonal = errors(sizes, orthogonal=False), errors(sizes, orthogonal=True)
    for size in sizes:
        assert independent[size] == pytest.approx(REPORTED[size], rel=0.3)
        assert orthogonal[size] < independent[size] * 1.02
    for found in (independent, orthogonal):
        slope = math.log(found[sizes[-1]] / found[16]) / math.log(sizes[-1] / 16)
        assert slope == pytest.approx(-0.5, abs=0.1)
    assert orthogonal[256] == pytest.approx(0.0364, rel=0.3)
    assert orthogonal[4096] == pytest.approx(0.0092, rel=0.3)


# Attention


@pytest.mark.parametrize("causal", [False, True])
def test_weights_sum_to_one_and_are_those_of_the_features(causal: bool) -> None:
    length = 2 * CHUNK + 9
    query, key = normal(2, 3, length, 8), normal(2, 3, length, 8, number=1)
    projection = draw_projection(24, 8, generator=seeded(2))
    everything = torch.eye(length).expand(2, 3, length, length)
    weights = performer_attention(query, key, everything, projection, causal=causal)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, length), atol=1e-5, rtol=0)
    products = positive_features(query, projection) @ positive_features(key, projection).transpose(2, 3)
    products = products.tril() if causal else products
    torch.testing.assert_close(weights, products / products.sum(-1, keepdim=True), atol=1e-5, rtol=1e-4)
    assert not causal or not weights.triu(1).any()


@pytest.mark.parametrize("length", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_the_last_causal_row_is_the_last_bidirectional_row(length: int) -> None:
    query, key, value = (normal(2, 2, length, 8, number=number) for number in range(3))
    projection = draw_projection(40, 8, generator=seeded(3))
    causal, full = (performer_attention(query, key, value, projection, causal=flag) for flag in (True, False))
    torch.testing.assert_close(causal[..., -1, :], full[..., -1, :], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(causal[..., 0, :], value[..., 0, :], atol=1e-6, rtol=1e-5)


def test_causal_rows_do_not_depend_on_what_follows() -> None:
    length = CHUNK + 30
    query, key, value = (normal(1, 2, length, 8, number=number) for number in range(3))
    projection = draw_projection(40, 8, generator=seeded(3))
    before = performer_attention(query, key, value, projection, causal=True)
    for place in (5, CHUNK - 1, CHUNK, CHUNK + 3):
        other = [part.clone() for part in (query, key, value)]
        for number, part in enumerate(other):
            part[..., place:, :] = normal(1, 2, length - place, 8, std=1.0, number=10 + number)
        after = performer_attention(*other, projection, causal=True)
        torch.testing.assert_close(after[..., :place, :], before[..., :place, :], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
def test_zero_keys_are_weighted_equally(causal: bool) -> None:
    length = CHUNK + 3
    query, value = normal(1, 2, length, 8), normal(1, 2, length, 4, number=1)
    projection = draw_projection(32, 8, generator=seeded(3))
    got = performer_attention(query, torch.zeros(1, 2, length, 8), value, projection, causal=causal)
    counts = torch.arange(1, length + 1)[:, None]
    expected = value.cumsum(2) / counts if causal else value.mean(2, keepdim=True).expand_as(value)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_hidden_keys_have_no_weight_whatever_they_hold(causal: bool) -> None:
    query, key, value = (normal(2, 2, 20, 8, number=number) for number in range(3))
    projection = draw_projection(40, 8, generator=seeded(3))
    keys = torch.arange(20)[None] < torch.tensor([[13], [0]])
    key[..., 13:, :] = 50.0  # its exponents would dwarf all others
    got = performer_attention(query, key, value, projection, causal=causal, keys=keys)
    short = [part[:1, :, :13] for part in (query, key, value)]
    expected = performer_attention(*short, projection, causal=causal)
    torch.testing.assert_close(got[:1, :, :13], expected, atol=1e-6, rtol=1e-5)
    assert not got[1].any()  # a row of padding alone


@pytest.mark.parametrize("causal", [False, True])
def test_large_vectors_neither_overflow_nor_leave_half_precision_behind(causal: bool) -> None:
    query, key, value = (normal(1, 2, 30, 16, std=3.0, number=number) for number in range(3))
    projection = draw_projection(64, 16, generator=seeded(3))
    exact = performer_attention(query, key, value, projection, causal=causal)
    assert exact.isfinite().all()
    for dtype in (torch.float16, torch.bfloat16):
        half = [part.to(dtype) for part in (query, key, value)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = performer_attention(*half, projection, causal=causal)
        again = performer_attention(*(part.float() for part in half), projection, causal=causal)
        assert got.dtype == dtype
        torch.testing.assert_close(got, again.to(dtype))


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_those_of_the_plain_formula(causal: bool) -> None:
    """The maxima that are subtracted cancel, so they carry no gradient."""
    length = CHUNK + 7
    inputs = [normal(1, 2, length, 8, number=number).requires_grad_() for number in range(3)]
    projection = draw_projection(24, 8, generator=seeded(3))
    target = normal(1, 2, length, 8, number=9)

    def by_formula(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        products = positive_features(query, projection) @ positive_features(key, projection).transpose(2, 3)
        products = products.tril() if causal else products
        return products / products.sum(-1, keepdim=True) @ value

    found = [
        torch.autograd.grad((attend(*inputs) * target).sum(), inputs)
        for attend in (by_formula, lambda *parts: performer_attention(*parts, projection, causal=causal))
    ]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_memory_of_the_causal_form_is_linear_in_the_length() -> None:
    """What is kept for the backward pass: doubled by a doubled length, and far below one (m, D) sum a token."""
    width, num_features = 16, 32
    projection = draw_projection(num_features, width, generator=seeded(0))

    def kept(length: int) -> int:
        seen: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        parts = [normal(1, 1, length, width, number=number).requires_grad_() for number in range(3)]
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = performer_attention(*parts, projection, causal=True)
        assert result.requires_grad
        return sum(seen.values())

    short, long = kept(8 * CHUNK), kept(16 * CHUNK)
    assert long / short == pytest.approx(2, rel=0.05)
    assert long < 16 * CHUNK * num_features * width * 4 / 2


# In the model


def test_enough_features_give_the_softmax_model() -> None:
    exact = model_of(attention="softmax", position="rotary")
    close = model_of(performer_features=20_000, position="rotary")
    token_ids = torch.randint(1, 40, (2, 9), generator=seeded(0))
    real = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    for mask in ("bidirectional", "causal"):
        states = [m(token_ids, attention_mask=real, mask=mask).last_hidden_state[real.bool()] for m in (exact, close)]
        assert (states[0] - states[1]).norm() / states[0].norm() < 0.05
    assert set(dict(exact.named_parameters())) == set(dict(close.named_parameters()))


@pytest.mark.parametrize("position", ["learned", "rotary", "hierarchical", "none"])
@pytest.mark.parametrize("scale", ["sqrt", "entropy_invariant", "none"])
def test_padding_changes_nothing(position: str, scale: str) -> None:
    model = model_of(position=position, attention_scale=scale, entropy_invariant_floor=2)
    token_ids = torch.randint(1, 40, (1, 7), generator=seeded(0))
    padded = torch.cat([token_ids, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    attention_mask = (torch.arange(12) < 7).long()[None]
    for mask in ("bidirectional", "causal"):
        long = model(padded, attention_mask=attention_mask, mask=mask).last_hidden_state
        torch.testing.assert_close(long[:, :7], model(token_ids, mask=mask).last_hidden_state, atol=1e-4, rtol=0)


def test_the_entropy_invariant_factor_acts_on_it() -> None:
    token_ids = torch.randint(1, 40, (1, 7), generator=seeded(0))
    states = [model_of(attention_scale=name)(token_ids).last_hidden_state for name in ("sqrt", "entropy_invariant")]
    assert not torch.allclose(*states)
    base = model_of(attention_scale="entropy_invariant", entropy_invariant_base=7, entropy_invariant_floor=2)
    torch.testing.assert_close(base(token_ids).last_hidden_state, states[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("mask", ["unilm", torch.ones(5, 5, dtype=torch.bool)], ids=["unilm", "tensor"])
def test_other_masks_are_refused(mask: str | Tensor) -> None:
    token_ids = torch.zeros(1, 5, dtype=torch.long)
    with pytest.raises(UsageError, match=r"attention `performer` cannot follow .*mask"):
        model_of()(token_ids, segment_ids=token_ids, mask=mask)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"residual_scores": "sum"}, ("performer", "residual_scores", "sum")),
        ({"residual_scores": "mean"}, ("performer", "residual_scores", "mean")),
        ({"position": "relative"}, ("performer", "relative")),
        ({"mask": "unilm"}, ("performer", "unilm")),
    ],
)
def test_contradictions_are_refused_with_both_names(choices: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**choices)
    assert all(word in str(caught.value) for word in words)


# Redrawing


def train_once(model: Transformer) -> None:
    model.train()
    model(torch.zeros(1, 4, dtype=torch.long)).last_hidden_state.sum().backward()
    model.zero_grad()


@pytest.mark.parametrize("share_layers", ["none", "all"])
def test_the_projection_is_redrawn_every_so_many_training_calls(share_layers: str) -> None:
    model = model_of(share_layers=share_layers, num_layers=3)
    first = projections(model)
    assert len(first) == (3 if share_layers == "none" else 1)
    for _ in range(5):
        model.eval()(torch.zeros(1, 4, dtype=torch.long))
    train_once(model)
    train_once(model)
    assert all(torch.equal(a, b) for a, b in zip(first, projections(model), strict=True))
    train_once(model)  # the third begins with a new one
    second = projections(model)
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for _ in range(REDRAWN):
        train_once(model)
    assert not any(torch.equal(a, b) for a, b in zip(second, projections(model), strict=True))
    assert share_layers == "all" or not torch.equal(second[0], second[1])  # each layer has its own


def test_drawing_leaves_the_global_generator_alone() -> None:
    features = RandomFeatures(config(), 0)
    state = torch.get_rng_state()
    for _ in range(REDRAWN):
        features.count_call()
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_number_of_steps_it_stays() -> None:
    model = model_of(performer_redraw_steps=0)
    first = projections(model)
    for _ in range(4):
        train_once(model)
    assert all(torch.equal(a, b) for a, b in zip(first, projections(model), strict=True))


def test_a_redraw_between_forward_and_backward_is_harmless() -> None:
    model = model_of(performer_redraw_steps=1).train()
    losses = [model(torch.ones(1, 4, dtype=torch.long)).last_hidden_state[..., 0].sum() for _ in range(2)]
    torch.stack(losses).sum().backward()


@pytest.mark.parametrize("way", ["weights", "model"])
def test_a_resumed_model_goes_on_with_the_same_draws(way: str, tmp_path) -> None:
    model = model_of()
    for _ in range(4):
        train_once(model)
    if way == "weights":  # as checkpoints/last holds them
        save_weights(model, tmp_path)
        again = Transformer(config())
        load_weights(again, tmp_path)
    else:
        save_model(model, tmp_path)
        again = load_model(tmp_path)
        assert not again.load_report.new
        assert not again.load_report.missing
        assert not again.load_report.unexpected
    token_ids = torch.randint(1, 40, (1, 6), generator=seeded(0))
    for _ in range(3):
        assert torch.equal(model.eval()(token_ids).last_hidden_state, again.eval()(token_ids).last_hidden_state)
        assert all(torch.equal(a, b) for a, b in zip(projections(model), projections(again), strict=True))
        train_once(model)
        train_once(again)
    copied = copy.deepcopy(model)
    for _ in range(REDRAWN):
        train_once(copied)
    assert not torch.equal(projections(copied)[0], projections(model)[0])


def test_a_softmax_checkpoint_loads_as_a_performer_and_back(tmp_path) -> None:
    softmax = model_of(attention="softmax")
    save_model(softmax, tmp_path / "softmax")
    performer = load_model(tmp_path / "softmax", attention="performer", performer_features=12)
    assert {name.rpartition(".")[2] for name in performer.load_report.new} == {"projection", "_extra_state"}
    save_model(performer, tmp_path / "performer")
    wider = load_model(tmp_path / "performer", performer_features=30)
    assert projections(wider)[0].shape == (30, 8)
    back = load_model(tmp_path / "performer", attention="softmax")
    token_ids = torch.randint(1, 40, (1, 6), generator=seeded(0))
    assert torch.equal(back(token_ids).last_hidden_state, softmax(token_ids).last_hidden_state)


def test_transformers_has_no_counterpart(tmp_path) -> None:
    with pytest.raises(InputError, match="attention `performer` has no counterpart"):
        export_model(model_of(), tmp_path)


def test_it_trains_in_bfloat16_and_as_meta_tensors() -> None:
    model = model_of().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.randint(0, 40, (2, 9)), mask="causal").last_hidden_state.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.layers.parameters())
    with torch.device("meta"):
        assert Transformer(config()).layers[0].feed_forward.input.weight.is_meta
