"""A model made ready to decode answers as it did: exactly by columns, closely in fewer bits."""

from __future__ import annotations

import copy

import pytest
import torch

from nlpx import load_model, load_tokenizer
from nlpx.decode.generation import CausalDecoder, GenerationSettings, PrefixDecoder, generate
from nlpx.decode.generation.formats import ready_to_decode
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer

TEXTS = ["今天天气很好", "春天来了", "我们明天一起去北京"]
TOKENIZER = load_tokenizer("char-tiny")
SOURCES = [TOKENIZER.encode(text).token_ids for text in TEXTS]


@pytest.fixture(scope="module")
def shipped() -> Transformer:
    model: Transformer = load_model("char-tiny", head="mlm")
    return model


def first_logits(model: Transformer) -> torch.Tensor:
    with torch.inference_mode():
        return PrefixDecoder(model).start(SOURCES)[0]


def answers(model: Transformer) -> list[list[int]]:
    settings = GenerationSettings(max_new_tokens=8)
    return [
        found[0].token_ids
        for found in generate(PrefixDecoder(model), SOURCES, settings, end_ids=[TOKENIZER.sep_token_id or 0])
    ]


def test_float32_by_columns_gives_the_same_numbers(shipped):
    ready = ready_to_decode(copy.deepcopy(shipped), "float32")
    torch.testing.assert_close(first_logits(ready), first_logits(shipped), atol=1e-4, rtol=0)
    assert answers(ready) == answers(shipped)


def test_int8_takes_the_same_tokens_where_the_choice_is_clear(shipped):
    decoders = PrefixDecoder(shipped), PrefixDecoder(ready_to_decode(copy.deepcopy(shipped), "int8"))
    with torch.inference_mode():
        (expected, state), (found, other) = (decoder.start(SOURCES) for decoder in decoders)
        assert not torch.equal(found, expected)  # it does compute in another format
        num_clear = 0
        for _ in range(12):
            best = expected.topk(2, dim=1)
            is_clear = best.values[:, 0] - best.values[:, 1] > 0.4  # nats
            num_clear += int(is_clear.sum())
            assert found.argmax(dim=1)[is_clear].tolist() == best.indices[is_clear, 0].tolist()
            tokens = best.indices[:, 0]
            expected, found = decoders[0].step(tokens, state), decoders[1].step(tokens, other)
    assert num_clear > 15  # of 36


@pytest.mark.parametrize(("number_format", "limit"), [("bfloat16", 0.01), ("int8", 0.05)])
def test_fewer_bits_stay_close(shipped, number_format, limit):
    ready = ready_to_decode(copy.deepcopy(shipped), number_format)
    found, expected = first_logits(ready).log_softmax(dim=1), first_logits(shipped).log_softmax(dim=1)
    assert found.dtype == torch.float32
    divergence = (expected.exp() * (expected - found)).sum(dim=1)  # nats
    assert divergence.max() < limit


@pytest.mark.parametrize("number_format", ["float32", "int8"])
def test_heads_with_a_matrix_of_their_own(number_format):
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=20, hidden_size=16, num_layers=1, num_attention_heads=2, intermediate_size=16, mask="causal",
        heads=("lm",), tie_word_embeddings=False, lm_bias=False, lm_transform=False, initializer_range=0.5,
    )  # fmt: skip
    model = Transformer(config).eval()
    settings, prompts = GenerationSettings(max_new_tokens=6), [[1, 2, 3]]
    [expected] = generate(CausalDecoder(copy.deepcopy(model)), prompts, settings, end_ids=())
    [found] = generate(CausalDecoder(ready_to_decode(model, number_format)), prompts, settings, end_ids=())
    assert found[0].token_ids == expected[0].token_ids
    assert found[0].score == pytest.approx(expected[0].score, abs=1e-4 if number_format == "float32" else 0.3)
