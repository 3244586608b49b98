"""Sentence vectors: pooling against a calculation by hand and against transformers; one text alone and among others."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import tiny
from nlpx.embed import encoder as encoder_module
from nlpx.embed.encoder import SentenceEncoder, padded
from nlpx.embed.pooling import POOLINGS, States, last_token, pool, token_mean
from nlpx.errors import InputError, UsageError
from nlpx.models.config import ModelConfig
from nlpx.models.heads import LanguageModelHead
from nlpx.models.transformer import Transformer
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocab import Vocab

TOKENIZER = CharTokenizer(Vocab(tiny.VOCAB))


def texts(count, *, longest=20, seed=0):
    chance = random.Random(seed)
    return ["".join(chance.choices(tiny.CHARACTERS, k=chance.randint(1, longest))) for _ in range(count)]


def transformer(**choices):
    """A small model whose every weight is random."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    model = Transformer(ModelConfig(**({"vocab_size": len(tiny.VOCAB)} | sizes | choices)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


def build(**choices):
    settings = {"poolings": ("first-last-avg", "mean", "cls"), "precision": "float32"}
    model = transformer(**choices.pop("parts", {}))
    return SentenceEncoder(model, TOKENIZER, **(settings | choices))


def lowest_cosine(ours, theirs):
    products = (ours * theirs).sum(axis=1)
    return float((products / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)).min())


def test_pooling_by_hand():
    first = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]], [[0.0, 0.0], [2.0, 2.0], [4.0, 7.0]]])
    last = torch.tensor([[[5.0, 0.0], [7.0, 2.0], [9.0, 9.0]], [[1.0, 1.0], [1.0, 1.0], [1.0, 4.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    pooler = nn.Linear(2, 2)
    with torch.no_grad():
        pooler.weight.copy_(torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
        pooler.bias.copy_(torch.tensor([0.5, 0.0]))
    states = States(first, last, mask, pooler(last[:, 0]))
    expected = {
        "mean": [[6.0, 1.0], [1.0, 2.0]],  # (5 + 7) / 2 and not / 3: the third position is padding
        "first-last-avg": [[4.0, 2.0], [1.5, 2.5]],  # first block: [2, 3] and [2, 3]
        "cls": [[5.0, 0.0], [1.0, 1.0]],
        "last": [[7.0, 2.0], [1.0, 4.0]],
        "pooler": [[10.5, 5.0], [2.5, 2.0]],  # linear: a tanh would stay below 1
    }
    assert expected.keys() == set(POOLINGS)
    for pooling, vectors in expected.items():
        assert torch.allclose(pool(states, pooling), torch.tensor(vectors)), pooling


def test_the_last_real_token_is_found_on_either_side_of_the_padding():
    states = torch.arange(24.0).view(3, 4, 2)
    right = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    assert last_token(states, right).tolist() == [[2, 3], [14, 15], [16, 17]]
    assert last_token(states, right.flip(1).bool()).tolist() == [[6, 7], [14, 15], [22, 23]]
    assert last_token(states, None).tolist() == [[6, 7], [14, 15], [22, 23]]


def test_a_mean_is_summed_in_float32():
    states = torch.full((1, 1000, 1), 1.0, dtype=torch.bfloat16)
    states[0, 0] = 1000.0
    assert token_mean(states, None).item() == pytest.approx(1.999)  # 1000 + 999 in bfloat16 would stop at 1000
    assert token_mean(states, torch.ones(1, 1000)).dtype == torch.float32


@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_are_those_of_transformers(tmp_path, pooling):
    theirs = tiny.bert(tmp_path, "BertModel")
    encoder = SentenceEncoder.load(tmp_path, poolings=(pooling,), precision="float32", device="cpu")
    for text in ["春夏秋冬", "山", "鱼鸟虫兽东南西北"]:
        ids = torch.tensor([TOKENIZER.encode(text).token_ids])
        with torch.no_grad():
            output = theirs(input_ids=ids, output_hidden_states=True)
            states = output.hidden_states
            expected = {
                "mean": states[-1].mean(1),
                "first-last-avg": (states[1].mean(1) + states[-1].mean(1)) / 2,
                "cls": states[-1][:, 0],
                "last": states[-1][:, -1],
                "pooler": theirs.pooler.dense(states[-1][:, 0]),
            }[pooling]
        assert torch.allclose(output.pooler_output, theirs.pooler.dense(states[-1][:, 0]).tanh())
        np.testing.assert_allclose(encoder.encode([text])[pooling], expected.numpy(), atol=1e-5)


def test_an_encoder_of_transformers(tmp_path):
    # XLM-R takes its padding from the ids, hence a vocabulary in which [PAD] is where XLM-R has it.
    vocab = ["[UNK]", "[PAD]", *tiny.VOCAB[2:]]
    theirs = tiny.checkpoint(tmp_path, "XLMRobertaConfig", "XLMRobertaModel", vocab=vocab)
    encoder = SentenceEncoder.load(tmp_path, poolings=("first-last-avg", "mean"), precision="float32", device="cpu")
    made = encoder.encode(["春夏秋冬", "山川湖海日月"])
    for row, text in enumerate(["春夏秋冬", "山川湖海日月"]):
        with torch.no_grad():
            ids = torch.tensor([encoder.tokenizer.encode(text).token_ids])
            states = theirs(input_ids=ids, output_hidden_states=True).hidden_states
        expected = ((states[1] + states[-1]) / 2).mean(1)[0].numpy()
        np.testing.assert_allclose(made["first-last-avg"][row], expected, atol=1e-5)


def test_texts_longer_than_the_positions_are_cut(tmp_path):
    tiny.checkpoint(tmp_path / "xlmr", "XLMRobertaConfig", "XLMRobertaModel")
    tiny.bert(tmp_path / "bert")
    long = "".join(tiny.CHARACTERS) * 3
    for name, positions in (("xlmr", 22), ("bert", 24)):  # of 24 rows XLM-R loses those up to its padding
        encoder = SentenceEncoder.load(tmp_path / name, poolings=("mean",), precision="float32", device="cpu")
        assert encoder.max_length == positions
        vectors = encoder.encode([long, long[: positions - 2]])["mean"]
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_a_text_alone_is_the_same_text_in_a_batch():
    encoder = build(batch_tokens=200)
    many = texts(60)
    together = encoder.encode(many)
    for row, text in enumerate(many):
        for pooling, vectors in encoder.encode([text]).items():
            np.testing.assert_allclose(vectors[0], together[pooling][row], atol=1e-5)


def test_order_is_kept_whatever_the_batches():
    many = texts(300)
    expected = build(batch_tokens=100_000).encode(many)
    for batch_tokens in (1, 64, 1000):
        for pooling, vectors in build(batch_tokens=batch_tokens).encode(many).items():
            np.testing.assert_allclose(vectors, expected[pooling], atol=1e-5)
    shuffled = random.Random(1).sample(range(300), 300)
    again = build().encode([many[index] for index in shuffled])["mean"]
    np.testing.assert_allclose(again, expected["mean"][shuffled], atol=1e-5)


def test_texts_without_a_token_are_zeros():
    encoder = build()
    found = encoder.encode(["春夏", "", "  \u3000", "秋", "\u200b\x07"])
    for vectors in found.values():
        assert vectors.dtype == np.float32
        assert vectors.shape == (5, 32)
        assert vectors.any(axis=1).tolist() == [True, False, False, True, False]
    assert all(not vectors.any() and vectors.shape == (1, 32) for vectors in encoder.encode([""]).values())
    assert all(vectors.shape == (0, 32) for vectors in encoder.encode([]).values())


def test_little_is_padding(monkeypatch):
    seen = []

    def counted(token_ids, pad_token_id):
        ids, mask = padded(token_ids, pad_token_id)
        seen.append((ids.numel(), sum(map(len, token_ids))))
        assert ids.numel() <= 512
        return ids, mask

    monkeypatch.setattr(encoder_module, "padded", counted)
    build(batch_tokens=512, parts={"num_layers": 1}).encode(texts(2000, longest=60))
    total, real = map(sum, zip(*seen, strict=True))
    assert total <= 1.03 * real


def test_rows_of_equal_length_need_no_mask():
    ids, mask = padded([[5, 6], [7, 8]], 0)
    assert ids.tolist() == [[5, 6], [7, 8]]
    assert mask is None
    ids, mask = padded([[5, 6, 7], [8]], 3)
    assert ids.tolist() == [[5, 6, 7], [8, 3, 3]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize(
    "parts",
    [
        {"position": "rotary"},
        {"position": "relative"},
        {"position": "learned", "norm_place": "pre"},
        {"share_layers": "all", "embedding_size": 16},
        {"residual_scores": "sum"},
        {"attention": "performer"},
        {"attention_scale": "entropy_invariant"},
        {"mask": "causal", "poolings": ("mean",)},
        {"mask": "unilm"},
        {"condition_size": 4, "num_conditions": 2},
    ],
    ids=str,
)
def test_every_kind_of_model(parts):
    many, parts = texts(40), dict(parts)
    settings = {"poolings": parts.pop("poolings", ("first-last-avg", "mean", "cls")), "parts": parts}
    wide = build(**settings).encode(many)
    alone = build(**settings).encode(many[:1])
    narrow = build(**settings, precision="bfloat16").encode(many)
    for pooling, vectors in wide.items():
        assert np.isfinite(vectors).all()
        assert vectors.std(axis=0).min() > 0
        np.testing.assert_allclose(alone[pooling][0], vectors[0], atol=1e-5)
        assert lowest_cosine(narrow[pooling], vectors) > 0.99


def test_the_last_state_is_the_normalised_one_where_norms_come_first():
    model = transformer(norm_place="pre")
    encoder = SentenceEncoder(model, TOKENIZER, poolings=("cls",), precision="float32")
    with torch.no_grad():
        expected = model(torch.tensor([TOKENIZER.encode("春夏").token_ids])).last_hidden_state[:, 0]
    np.testing.assert_allclose(encoder.encode(["春夏"])["cls"], expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["char-tiny", "word-tiny"])
def test_bfloat16_is_close_to_float32(name):
    many = [
        "今天的天气很好，我们去公园散步。",
        "如何办理信用卡？",
        "好",
        "手机充不进电怎么办",
        "股市收盘时小幅上涨" * 9,
    ]
    poolings = ("first-last-avg", "mean", "cls")
    found = {
        precision: SentenceEncoder.load(name, poolings=poolings, precision=precision, device="cpu").encode(many)
        for precision in ("float32", "bfloat16")
    }
    for pooling in poolings:
        assert lowest_cosine(found["bfloat16"][pooling], found["float32"][pooling]) >= 0.999
        assert not np.array_equal(found["bfloat16"][pooling], found["float32"][pooling])


def test_no_gradient_and_no_vocabulary(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the vocabulary product ran")

    monkeypatch.setattr(LanguageModelHead, "forward", refuse)
    tiny.bert(tmp_path, "BertForMaskedLM")
    for name in (tmp_path, "char-tiny"):
        encoder = SentenceEncoder.load(name, device="cpu")
        seen = []
        encoder.model.layers[0].register_forward_hook(lambda *found, seen=seen: seen.append(found[2][0]))
        encoder.encode(["春夏"])
        assert encoder.model.lm_head is None
        assert not encoder.model.training
        assert seen[0].is_inference()
        assert not seen[0].requires_grad


def test_what_is_refused(tmp_path):
    with pytest.raises(UsageError, match="unknown pooling `max`"):
        SentenceEncoder.load(tmp_path, poolings=("max",))
    with pytest.raises(InputError, match="char-tiny has no pooler"):
        SentenceEncoder.load("char-tiny", poolings=("mean", "pooler"))
    tiny.checkpoint(tmp_path / "mlm", "XLMRobertaConfig", "XLMRobertaForMaskedLM")
    with pytest.raises(InputError, match="mlm has no pooler"):  # transformers would make one of random numbers
        SentenceEncoder.load(tmp_path / "mlm", poolings=("pooler",))
    with pytest.raises(InputError, match="the model reads from left to right"):
        build(parts={"mask": "causal"})
    tiny.bert(tmp_path / "small", vocab_size=10, vocab=tiny.VOCAB)
    with pytest.raises(InputError, match=r"small: the vocabulary has .* entries, the model's word table 10 rows"):
        SentenceEncoder.load(tmp_path / "small")


def test_a_pooler_of_transformers(tmp_path):
    theirs = tiny.checkpoint(tmp_path, "XLMRobertaConfig", "XLMRobertaModel")
    encoder = SentenceEncoder.load(tmp_path, poolings=("cls", "pooler"), precision="float32", device="cpu")
    made = encoder.encode(["春夏秋冬"])
    with torch.no_grad():
        expected = theirs.pooler.dense(torch.from_numpy(made["cls"]))
    np.testing.assert_allclose(made["pooler"], expected.numpy(), atol=1e-5)
