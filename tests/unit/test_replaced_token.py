"""Generator and discriminator as one model (ELECTRA, arXiv 2003.10555)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from nlpx import load_model
from nlpx.errors import UsageError
from nlpx.models.checkpoints.plain import load_weights, save_weights
from nlpx.models.checkpoints.save import save_model
from nlpx.models.config import ModelConfig
from nlpx.models.replaced_token import ReplacedTokenModel, generator_config, sample_tokens
from nlpx.models.transformer import Transformer

MASK = 4


def config(**choices: Any) -> ModelConfig:
    sizes = {"vocab_size": 30, "hidden_size": 32, "num_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    return ModelConfig(**(sizes | {"embedding_size": 16, "heads": ("discriminator",), "family": "electra"} | choices))


def pair(**choices: Any) -> ReplacedTokenModel:
    torch.manual_seed(0)
    discriminator = config(**choices)
    model = ReplacedTokenModel(Transformer(generator_config(discriminator)), Transformer(discriminator)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


def batch(num_rows: int = 3, length: int = 10) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    token_ids = torch.randint(5, 30, (num_rows, length), generator=generator)
    positions = torch.arange(1, num_rows * length, 5)
    masked = token_ids.flatten().index_fill(0, positions, MASK).view_as(token_ids)
    uniform = torch.rand(len(positions), generator=generator, dtype=torch.float64)
    return {"token_ids": token_ids, "masked_ids": masked, "masked_positions": positions, "uniform": uniform}


# Sampling


def test_tokens_are_drawn_with_the_probabilities_of_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, -torch.inf])
    num = 40_000
    uniform = torch.rand(num, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for temperature in (1.0, 0.5):
        drawn = sample_tokens(logits.expand(num, 5), uniform, temperature=temperature)
        shares = torch.bincount(drawn, minlength=5) / num
        expected = (logits / temperature).softmax(0)
        assert ((shares - expected).abs() < 5 * (expected * (1 - expected) / num).sqrt() + 1e-9).all()


def test_a_place_keeps_its_token_in_whatever_batch() -> None:
    logits = torch.randn(8, 30, generator=torch.Generator().manual_seed(0))
    uniform = torch.linspace(0, 1 - 2**-53, 8, dtype=torch.float64)
    together = sample_tokens(logits, uniform)
    alone = torch.cat([sample_tokens(logits[i : i + 1], uniform[i : i + 1]) for i in range(8)])
    assert torch.equal(together, alone)
    assert together.min() >= 0
    assert together.max() < 30


def test_without_temperature_the_likeliest_token_is_taken() -> None:
    logits = torch.randn(8, 30, generator=torch.Generator().manual_seed(0))
    uniform = torch.rand(8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sample_tokens(logits, uniform, temperature=0), logits.argmax(1))
    assert torch.equal(sample_tokens(logits, uniform, temperature=1e-3), logits.argmax(1))


# The pair


def test_only_masked_places_are_filled_and_equal_tokens_count_as_original() -> None:
    model, given = pair(), batch()
    output = model(**given)
    positions = given["masked_positions"]
    expected = sample_tokens(output.generator_logits, given["uniform"])
    assert torch.equal(output.token_ids.flatten()[positions], expected)
    others = torch.ones(30, dtype=torch.bool).index_fill(0, positions, False)
    assert torch.equal(output.token_ids.flatten()[others], given["token_ids"].flatten()[others])
    assert torch.equal(output.is_replaced, output.token_ids != given["token_ids"])
    assert output.discriminator_logits.shape == (3, 10)
    assert output.generator_logits.shape == (6, 30)
    plain = model.discriminator(output.token_ids).logits
    assert torch.equal(output.discriminator_logits, plain)
    again = model(**given)
    assert torch.equal(again.token_ids, output.token_ids)


def test_a_perfect_generator_replaces_nothing() -> None:
    model, given = pair(), batch()
    wanted = given["token_ids"].flatten()[given["masked_positions"]]
    model.generator.lm_head.forward = lambda *inputs: 10.0 * functional.one_hot(wanted, 30)
    assert not model(**given, temperature=1e-3).is_replaced.any()
    assert not model(**given, temperature=0).is_replaced.any()


def test_a_uniform_generator_replaces_all_but_one_in_v() -> None:
    """The expected share is rate * (1 - 1 / V)."""
    model, vocab_size, rate = pair(), 30, 0.15
    with torch.no_grad():
        model.generator.lm_head.bias.zero_()
        model.generator.lm_head.norm.weight.zero_()
        model.generator.lm_head.norm.bias.zero_()
    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(0, vocab_size, (200, 400), generator=generator)
    positions = (torch.rand(80_000, generator=generator) < rate).nonzero().flatten()
    uniform = torch.rand(len(positions), generator=generator, dtype=torch.float64)
    drawn = sample_tokens(torch.zeros(len(positions), vocab_size), uniform)
    share = (drawn != token_ids.flatten()[positions]).sum().item() / 80_000
    expected = rate * (1 - 1 / vocab_size)
    assert share == pytest.approx(expected, abs=5 * (expected / 80_000) ** 0.5)
    given = batch()
    assert not model(**given).generator_logits.any()


def test_the_discriminators_loss_reaches_the_generator_through_shared_tables_only() -> None:
    model, given = pair(), batch()
    output = model(**given)
    labels = output.is_replaced.float()
    functional.binary_cross_entropy_with_logits(output.discriminator_logits, labels).backward()
    tied = {id(part.weight) for part in (model.discriminator.embeddings.word_embeddings,)}
    tied |= {id(model.discriminator.embeddings.position_embeddings.weight)}
    tied |= {id(model.discriminator.embeddings.token_type_embeddings.weight)}
    for name, parameter in model.generator.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached is (id(parameter) in tied), name


def test_the_whole_loss_is_the_generators_and_fifty_times_the_discriminators() -> None:
    """Gradients add up in the shared table and nowhere else mix."""
    given = batch()
    wanted = given["token_ids"].flatten()[given["masked_positions"]]

    def gradients(generator_weight: float, discriminator_weight: float) -> dict[str, torch.Tensor]:
        model = pair()
        output = model(**given)
        loss = generator_weight * functional.cross_entropy(output.generator_logits, wanted)
        judged = functional.binary_cross_entropy_with_logits(output.discriminator_logits, output.is_replaced.float())
        (loss + discriminator_weight * judged).backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    whole, first, second = gradients(1, 50), gradients(1, 0), gradients(0, 1)
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, first[name] + 50 * second[name], atol=1e-4, rtol=1e-4)


def test_tables_are_one_parameter_named_by_the_discriminator() -> None:
    model = pair()
    names = [name for name, _ in model.named_parameters()]
    assert "discriminator.embeddings.word_embeddings.weight" in names
    assert "generator.embeddings.word_embeddings.weight" not in names
    assert model.generator.embeddings.word_embeddings.weight is model.discriminator.embeddings.word_embeddings.weight
    only_words = ReplacedTokenModel(Transformer(generator_config(config())), Transformer(config()), tied=("word",))
    places = [part.embeddings.position_embeddings.weight for part in (only_words.generator, only_words.discriminator)]
    assert places[0] is not places[1]
    rotary = pair(position="rotary", type_vocab_size=0)
    assert rotary(**batch()).discriminator_logits.isfinite().all()


def test_the_generators_shape() -> None:
    base = config(hidden_size=768, num_attention_heads=12, intermediate_size=3072, embedding_size=768)
    found = [generator_config(base, fraction=fraction) for fraction in (1 / 4, 1 / 3, 1 / 2, 1.0, 0.01)]
    assert [made.hidden_size for made in found] == [192, 256, 384, 768, 64]
    assert [made.num_attention_heads for made in found] == [3, 4, 6, 12, 1]
    assert [made.intermediate_size for made in found] == [768, 1024, 1536, 3072, 256]
    assert {(made.embedding_size, made.head_size, made.heads) for made in found} == {(768, 64, ("lm",))}
    for fraction in (0, 1.5):
        with pytest.raises(UsageError, match=r"\(0, 1\]"):
            generator_config(base, fraction=fraction)


def test_parts_that_do_not_fit_are_refused() -> None:
    generator, discriminator = generator_config(config()), config()
    with pytest.raises(UsageError, match="needs the head `lm`"):
        ReplacedTokenModel(Transformer(discriminator), Transformer(discriminator))
    with pytest.raises(UsageError, match="cannot share the word table: 31x16 and 30x16"):
        ReplacedTokenModel(Transformer(generator.with_choices(vocab_size=31)), Transformer(discriminator))


def test_each_part_and_the_whole_survive_saving(tmp_path) -> None:
    model, given = pair(), batch()
    expected = model(**given)
    for name in ("generator", "discriminator"):
        save_model(getattr(model, name), tmp_path / name)
    generator = load_model(tmp_path / "generator", head="mlm")
    discriminator = load_model(tmp_path / "discriminator", head="discriminator")
    again = ReplacedTokenModel(generator, discriminator)
    save_weights(model, tmp_path)
    resumed = ReplacedTokenModel(Transformer(generator.config), Transformer(discriminator.config)).eval()
    load_weights(resumed, tmp_path)
    assert (
        resumed.generator.embeddings.word_embeddings.weight is resumed.discriminator.embeddings.word_embeddings.weight
    )
    for other in (again, resumed):
        output = other(**given)
        assert torch.equal(output.discriminator_logits, expected.discriminator_logits)
        assert torch.equal(output.generator_logits, expected.generator_logits)
