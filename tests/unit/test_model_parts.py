"""Parts of the Transformer against the formulas of their papers and posts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from nlpx.errors import InputError, UsageError
from nlpx.models.attention import EAGER_UP_TO, AttentionContext, SelfAttention, eager_is_faster
from nlpx.models.config import ModelConfig
from nlpx.models.dropout import Dropout, NoisePool
from nlpx.models.heads import Classifier, masked_mean
from nlpx.models.masks import additive, unilm, visible
from nlpx.models.norms import ConditionMap, Norm
from nlpx.models.positions import PositionEmbeddings, RelativePositions, Rotary, hierarchical_rows, rotate, sinusoids
from nlpx.models.transformer import Transformer


def config(**choices: Any) -> ModelConfig:
    values: dict[str, Any] = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "max_position_embeddings": 12,
    }
    return ModelConfig(**(values | choices))


def randomised(model: torch.nn.Module, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


# Configuration


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"position": "hierarchical", "hierarchical_alpha": 0.5}, ("hierarchical", "0.5")),
        ({"position": "rotary", "key_size": 3}, ("rotary", "key_size")),
        ({"position": "relative", "key_size": 2}, ("relative", "key_size", "head_size")),
        ({"num_conditions": 6}, ("num_conditions", "condition_size")),
        ({"mask": "unilm", "type_vocab_size": 0}, ("unilm", "type_vocab_size")),
        ({"heads": ["sentence"]}, ("sentence", "pooler")),
        ({"hidden_size": 18}, ("18", "4")),
        ({"norm": "rms", "norm_scale": False, "condition_size": 8}, ("norm_scale", "condition_size")),
    ],
)
def test_contradictions_are_refused_with_both_names(choices: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**choices)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "num_layers", "intermediate_size", "performer_features"])
@pytest.mark.parametrize("size", [10**9, 10**30])
def test_sizes_beyond_every_model_are_refused_by_name(name: str, size: int) -> None:
    with pytest.raises(ValidationError, match=name):
        config(**{name: size})


# Conditional norm


def test_zero_conditional_model_equals_the_unconditional_bit_for_bit() -> None:
    plain = randomised(Transformer(config(heads=("classification",))))
    conditional = Transformer(config(heads=("classification",), condition_size=8, num_conditions=6)).eval()
    conditional.load_state_dict(plain.state_dict(), strict=False)
    token_ids = torch.randint(0, 50, (6, 9))
    expected = plain(token_ids).logits
    assert torch.equal(conditional(token_ids, condition=torch.arange(6)).logits, expected)


def test_different_conditions_give_different_logits_once_the_maps_are_random() -> None:
    model = randomised(Transformer(config(heads=("classification",), condition_size=8, num_conditions=6)))
    token_ids = torch.randint(0, 50, (1, 9)).expand(6, -1)
    logits = model(token_ids, condition=torch.arange(6)).logits
    assert len({tuple(row) for row in logits.tolist()}) == 6


def test_gradient_reaches_the_condition_table_only_through_nonzero_maps() -> None:
    model = Transformer(config(heads=("classification",), condition_size=8, num_conditions=6)).eval()
    token_ids, condition = torch.randint(0, 50, (6, 9)), torch.arange(6)
    model(token_ids, condition=condition).logits.square().sum().backward()
    assert model.condition_embeddings is not None
    assert not model.condition_embeddings.weight.grad.any()
    maps = [module for module in model.modules() if isinstance(module, ConditionMap)]
    assert len(maps) == 1 + 2 * 2
    assert all(part.scale.weight.grad.any() and part.offset.weight.grad.any() for part in maps)
    randomised(model)
    model(token_ids, condition=condition).logits.square().sum().backward()
    assert model.condition_embeddings.weight.grad.any()


def test_one_hot_condition_adds_a_column_of_the_map() -> None:
    norm = Norm(5, config(condition_size=3, norm_eps=1e-12))
    torch.nn.init.normal_(norm.condition.scale.weight)
    torch.nn.init.normal_(norm.condition.offset.weight)
    x, one_hot = torch.randn(1, 4, 5, dtype=torch.float32), torch.eye(3)[1:2]
    centred = x - x.mean(-1, keepdim=True)
    normal = centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()
    expected = normal * (1 + norm.condition.scale.weight[:, 1]) + norm.condition.offset.weight[:, 1]
    torch.testing.assert_close(norm(x, one_hot), expected)


def test_condition_costs_two_maps_per_norm_and_one_table() -> None:
    def count(**choices: Any) -> int:
        return sum(parameter.numel() for parameter in Transformer(config(**choices)).parameters())

    norms, hidden, condition = 5, 16, 8
    assert count(condition_size=8, num_conditions=6) - count() == norms * 2 * condition * hidden + 6 * condition


def test_rms_norm_formula() -> None:
    norm = Norm(6, config(norm="rms", norm_scale=False, norm_eps=1e-6))
    x = torch.randn(2, 3, 6)
    torch.testing.assert_close(norm(x), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt())
    assert not list(norm.parameters())


# Positions


def test_hierarchical_positions() -> None:
    alpha, rows = 0.4, 12
    part = PositionEmbeddings(rows, 8, alpha=alpha)
    table = torch.nn.init.normal_(part.weight).detach().double()
    part = part.double()
    part.weight.data = table
    everything = part(torch.arange(rows * rows), rows * rows)
    assert (everything[:rows] - table).abs().max() < 1e-15
    base = (table - alpha * table[0]) / (1 - alpha)
    x, y = torch.arange(rows * rows) // rows, torch.arange(rows * rows) % rows
    torch.testing.assert_close(everything, alpha * base[x] + (1 - alpha) * base[y])
    torch.testing.assert_close(everything[:: rows + 1], base)
    torch.testing.assert_close(everything[rows] - everything[0], alpha / (1 - alpha) * (table[1] - table[0]))
    torch.testing.assert_close(hierarchical_rows(table, 40, alpha), everything[:40])
    with pytest.raises(InputError, match="144 positions"):
        part(torch.tensor([rows * rows]), rows * rows + 1)


def test_hierarchical_model_equals_the_learned_one_within_the_table() -> None:
    learned = randomised(Transformer(config(heads=("lm",))))
    longer = Transformer(config(heads=("lm",), position="hierarchical")).eval()
    longer.load_state_dict(learned.state_dict())
    token_ids = torch.randint(0, 50, (2, 12))
    assert torch.equal(learned(token_ids).logits, longer(token_ids).logits)
    assert longer(torch.randint(0, 50, (2, 30))).logits.shape == (2, 30, 50)


def test_texts_beyond_the_position_table_are_refused() -> None:
    with pytest.raises(InputError, match="13 tokens is longer than the model's 12 positions"):
        Transformer(config())(torch.zeros(1, 13, dtype=torch.long))


def test_rotation_pairs_neighbours_and_depends_on_distance_only() -> None:
    rotary = Rotary(8)
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def product(i: int, j: int) -> float:
        turned = [rotate(x, *rotary.tables(torch.tensor([[at]]), at + 1)) for x, at in ((query, i), (key, j))]
        return float((turned[0] * turned[1]).sum())

    assert product(3, 7) == pytest.approx(product(13, 17), abs=1e-5)
    turned = rotate(query, *rotary.tables(torch.tensor([[5]]), 6)).flatten()
    pairs = torch.view_as_complex(query.flatten().view(4, 2))
    angles = 5 * 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    expected = torch.view_as_real(pairs * torch.polar(torch.ones(4), angles)).flatten()
    torch.testing.assert_close(turned, expected)


def test_relative_attention_formula() -> None:
    """score = q.(k + r) / sqrt(d), output = sum p (v + r), r the sinusoid of the clipped distance (NEZHA)."""
    settings = config(position="relative", max_relative_position=3)
    attention = randomised(SelfAttention(settings, NoisePool()))
    hidden = torch.randn(1, 6, 16)
    relative = RelativePositions(3, 4)(torch.arange(6)[None])
    got, _ = attention(hidden, AttentionContext(relative=relative))
    table = sinusoids(7, 4)
    query, key, value = attention.query_key_value(hidden)[0].view(6, 3, 4, 4).permute(1, 2, 0, 3)
    mixed = torch.zeros(4, 6, 4)
    for head in range(4):
        for i in range(6):
            vectors = torch.stack([table[min(max(j - i, -3), 3) + 3] for j in range(6)])
            weights = ((key[head] + vectors) @ query[head, i] / 2).softmax(0)
            mixed[head, i] = weights @ (value[head] + vectors)
    torch.testing.assert_close(got, attention.output(mixed.transpose(0, 1).reshape(1, 6, 16)), atol=1e-5, rtol=0)


def test_sinusoids_alternate() -> None:
    table = sinusoids(9, 6)
    assert table[5, 2] == pytest.approx(torch.sin(torch.tensor(5 * 10000 ** (-2 / 6))).item(), abs=1e-6)
    assert table[5, 3] == pytest.approx(torch.cos(torch.tensor(5 * 10000 ** (-2 / 6))).item(), abs=1e-6)


# Attention and masks


@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_eager_and_fused_attention_agree(position: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = randomised(Transformer(config(position=position)))
    token_ids = torch.randint(0, 50, (3, 10))
    attention_mask = (torch.arange(10) < torch.tensor([[10], [7], [2]])).long()
    outputs = []
    for is_eager in (True, False):
        monkeypatch.setattr("nlpx.models.attention.eager_is_faster", lambda query, dropout, chosen=is_eager: chosen)
        outputs.append(model(token_ids, attention_mask=attention_mask).last_hidden_state[attention_mask.bool()])
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-6, rtol=0)


def test_the_form_of_attention_follows_the_measurements() -> None:
    query = torch.zeros(1, 1, 8, 4)
    assert eager_is_faster(query, dropout=True)
    assert eager_is_faster(query.bfloat16(), dropout=False)
    assert not eager_is_faster(query, dropout=False)
    assert not eager_is_faster(torch.zeros(1, 1, EAGER_UP_TO + 1, 4), dropout=True)


def test_unilm_mask_rule() -> None:
    """i sees j iff cumsum(segment)[j] <= cumsum(segment)[i]: the source never sees the target."""
    mask = unilm(torch.tensor([[0, 0, 0, 1, 1]]))[0].int().tolist()
    assert mask == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


def test_source_states_do_not_depend_on_the_target() -> None:
    model = randomised(Transformer(config(position="rotary")))
    token_ids = torch.randint(0, 50, (1, 9))
    segments = (torch.arange(9) >= 5).long()[None]
    with_target = model(token_ids, segments, mask="unilm").last_hidden_state
    alone = model(token_ids[:, :5], segments[:, :5], mask="unilm").last_hidden_state
    torch.testing.assert_close(with_target[:, :5], alone, atol=1e-6, rtol=0)


def test_causal_states_do_not_depend_on_the_future() -> None:
    model = randomised(Transformer(config()))
    token_ids = torch.randint(0, 50, (2, 9))
    whole = model(token_ids, mask="causal").last_hidden_state
    torch.testing.assert_close(
        whole[:, :4], model(token_ids[:, :4], mask="causal").last_hidden_state, atol=1e-6, rtol=0
    )


def test_a_mask_given_as_a_tensor_is_obeyed() -> None:
    model = randomised(Transformer(config()))
    token_ids = torch.randint(0, 50, (2, 6))
    triangle = torch.ones(6, 6, dtype=torch.bool).tril()
    expected = model(token_ids, mask="causal").last_hidden_state
    assert torch.equal(model(token_ids, mask=triangle).last_hidden_state, expected)
    assert torch.equal(model(token_ids, mask=triangle.expand(2, 6, 6)).last_hidden_state, expected)


@pytest.mark.parametrize("position", ["learned", "rotary", "relative", "none"])
def test_padding_does_not_change_real_tokens(position: str) -> None:
    model = randomised(Transformer(config(position=position, heads=("classification",))))
    token_ids = torch.randint(0, 50, (1, 7))
    padded = torch.cat([token_ids, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    attention_mask = (torch.arange(12) < 7).long()[None]
    short, long = model(token_ids), model(padded, attention_mask=attention_mask)
    torch.testing.assert_close(long.last_hidden_state[:, :7], short.last_hidden_state, atol=1e-6, rtol=0)
    torch.testing.assert_close(long.logits, short.logits, atol=1e-6, rtol=0)


def test_a_row_that_sees_nothing_is_uniform_not_nan() -> None:
    bias = additive(visible("bidirectional", torch.zeros(1, 4), None, 4, torch.device("cpu")), torch.float32)
    assert bias is not None
    assert torch.equal(bias.softmax(-1), torch.full((1, 1, 1, 4), 0.25))


@pytest.mark.parametrize("residual_scores", ["none", "sum"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_that_sees_nothing_is_no_nan_in_any_precision(dtype: torch.dtype, residual_scores: str) -> None:
    """Among rows that see something, so that the call has a mask at all; with weights that give large scores."""
    model = randomised(Transformer(config(residual_scores=residual_scores))).eval()
    attention_mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        states = model(torch.randint(0, 50, (2, 4)), attention_mask=attention_mask).last_hidden_state
    assert states.isfinite().all()


def test_wrong_masks_say_what_is_needed() -> None:
    model, token_ids = Transformer(config()), torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(UsageError, match="segment_ids"):
        model(token_ids, mask="unilm")
    with pytest.raises(UsageError, match="unknown mask `triangle`"):
        model(token_ids, mask="triangle")
    with pytest.raises(UsageError, match="no conditional norms"):
        model(token_ids, condition=torch.tensor([0]))


# Heads, sharing, dropout


def test_vocabulary_product_only_where_asked() -> None:
    model = randomised(Transformer(config(heads=("lm",))))
    token_ids = torch.randint(0, 50, (2, 6))
    everything = model(token_ids).logits.flatten(0, 1)
    torch.testing.assert_close(model(token_ids, lm_positions=torch.tensor([1, 7])).logits, everything[[1, 7]])


def test_masked_mean() -> None:
    states = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert masked_mean(states, torch.tensor([[1, 1, 0]])).item() == 2.0
    assert masked_mean(states, torch.tensor([[0, 0, 0]])).item() == 0.0


def test_shared_layers_hold_one_block_and_sum_its_gradients() -> None:
    shared = randomised(Transformer(config(share_layers="all", num_layers=3)))
    unshared = Transformer(config(num_layers=3)).eval()
    state = shared.state_dict()
    copies = {key.replace("layers.0.", f"layers.{i}."): value for key, value in state.items() for i in range(3)}
    unshared.load_state_dict(copies)
    token_ids = torch.randint(0, 50, (2, 6))
    for model in (shared, unshared):
        model(token_ids).last_hidden_state.square().mean().backward()
    name = "feed_forward.input.weight"
    total = sum(unshared.get_parameter(f"layers.{i}.{name}").grad for i in range(3))
    torch.testing.assert_close(shared.get_parameter(f"layers.0.{name}").grad, total, atol=1e-5, rtol=0)


def test_gated_feed_forward_and_pre_norm_run_and_differ() -> None:
    token_ids = torch.randint(0, 50, (1, 5))
    outputs = [
        randomised(Transformer(config(**choices)))(token_ids).last_hidden_state
        for choices in ({}, {"feed_forward": "gated"}, {"norm_place": "pre"}, {"key_size": 6, "head_size": 5})
    ]
    assert all(output.shape == (1, 5, 16) for output in outputs)
    assert not any(torch.allclose(outputs[0], other) for other in outputs[1:])


def test_noise_pool_keeps_the_rate_and_masks_are_uncorrelated() -> None:
    torch.manual_seed(0)
    pool, shape = NoisePool(), torch.Size((200, 1000))
    masks = [pool.mask(shape, 0.1, torch.float32) for _ in range(4)]
    for mask in masks:
        kept = (mask > 0).float()
        assert mask.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
        # 200,000 draws: five standard deviations of the mean
        assert abs(kept.mean().item() - 0.9) < 5 * (0.09 / 200_000) ** 0.5
    for one, other in ((0, 1), (0, 2), (2, 3)):
        together = torch.stack([masks[one].flatten(), masks[other].flatten()])
        assert abs(torch.corrcoef(together)[0, 1].item()) < 5 / 200_000**0.5


def test_noise_pool_is_a_function_of_seed_step_and_generator() -> None:
    def draw(step: int, seed: int, warm: bool) -> torch.Tensor:
        pool = NoisePool()
        pool.at_step(step, seed)
        torch.manual_seed(3)
        if warm:  # a pool that has grown before must go on as a fresh one does
            state = torch.get_rng_state()
            pool.mask(torch.Size((3_000_000,)), 0.1, torch.float32)
            torch.set_rng_state(state)
        return pool.mask(torch.Size((1000,)), 0.1, torch.float32)

    assert torch.equal(draw(60, 1, warm=False), draw(60, 1, warm=True))
    assert torch.equal(draw(60, 1, warm=False), draw(99, 1, warm=False))
    assert not torch.equal(draw(60, 1, warm=False), draw(100, 1, warm=False))
    assert not torch.equal(draw(60, 1, warm=False), draw(60, 2, warm=False))


def test_dropout_is_off_in_evaluation_and_scales_gradients() -> None:
    dropout, x = Dropout(0.5, NoisePool()), torch.ones(1000, requires_grad=True)
    assert dropout.eval()(x) is x
    y = dropout.train()(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert set(y.unique().tolist()) == {0.0, 2.0}


def kept_weights(values: torch.Tensor, rate: float) -> bool:
    """Whether values that were 1 are now 0 or 1 / (1 - rate), in these proportions."""
    found = values.unique()
    torch.testing.assert_close(found, torch.tensor([0.0, 1 / (1 - rate)]))
    kept = (values > 0).double().mean().item()
    return abs(kept - (1 - rate)) < 5 * (rate * (1 - rate) / values.numel()) ** 0.5  # standard deviations of the mean


@pytest.mark.parametrize("is_eager", [True, False], ids=["eager", "fused"])
def test_attention_drops_weights_at_its_own_rate(is_eager: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of zero, and values that are the rows of an identity: what comes out are the weights themselves."""
    monkeypatch.setattr("nlpx.models.attention.eager_is_faster", lambda query, dropout: is_eager)
    torch.manual_seed(0)
    attention = SelfAttention(config(attention_dropout=0.25, hidden_dropout=0.75, use_bias=False), NoisePool())
    with torch.no_grad():
        attention.query_key_value.weight.copy_(torch.cat([torch.zeros(32, 16), torch.eye(16)]))
        attention.output.weight.copy_(torch.eye(16))
    hidden = torch.eye(4).repeat(1, 4).expand(500, 4, 16)  # (B, T, D)
    assert torch.equal(attention.eval()(hidden, AttentionContext())[0], torch.full((500, 4, 16), 0.25))
    assert kept_weights(4 * attention.train()(hidden, AttentionContext())[0].detach(), 0.25)


def test_a_classifier_drops_parts_of_its_vector() -> None:
    torch.manual_seed(0)
    settings = config(hidden_dropout=0.25, attention_dropout=0.75, num_labels=16, heads=("classification",))
    head = Classifier(settings, NoisePool())
    with torch.no_grad():
        head.linear.weight.copy_(torch.eye(16))
        head.linear.bias.zero_()
    ones = torch.ones(2000, 3, 16)
    assert torch.equal(head.eval()(ones, None, None), torch.ones(2000, 16))
    assert kept_weights(head.train()(ones, None, None).detach(), 0.25)


@pytest.mark.parametrize("norm_place", ["pre", "post"])
def test_everything_else_is_dropped_at_the_rate_of_hidden_states(norm_place: str) -> None:
    """Embeddings once, what each block adds twice."""
    model = randomised(
        Transformer(config(heads=("classification",), hidden_dropout=0.4, attention_dropout=0.0, norm_place=norm_place))
    ).train()
    seen: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, Dropout):
            assert module.rate == (0.0 if "attention" in name else 0.4), name
            module.register_forward_hook(lambda *_, name=name: seen.append(name))
    token_ids = torch.randint(0, 50, (4, 9))
    trained = model(token_ids).logits
    blocks = ["layers.0.dropout"] * 2 + ["layers.1.dropout"] * 2
    assert [name for name in seen if name.startswith("layers")] == blocks
    assert sorted(set(seen) - set(blocks)) == ["classifier.dropout", "embeddings.dropout"]
    assert not torch.equal(trained, model(token_ids).logits)
    assert torch.equal(model.eval()(token_ids).logits, model(token_ids).logits)
