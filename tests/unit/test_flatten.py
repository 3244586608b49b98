"""Texts as arrays: the tokenizer's own ids, nothing lost, and words where the segmenter begins them."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpx.data.corpus import flatten
from nlpx.data.corpus.flatten import Flattener, digest, documents_of
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.segment import build_segmenter
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab
from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary
from nlpx.tokenizers.word import WordTokenizer

TEXTS = [
    "今天天气很好，我们去公园散步。你来吗？来！",
    "iPhone15 和 node.js 的价格是1999元；café 与 Ωmega…",
    "   \n\t",
    "第一段。\n\n“第二段！”他说\n",
    "\u200b\u0000",
    "北京大学的研究生在图书馆学习𠀀字",
    "ﾊﾝｶｸ カタカナ ひらがな 한국어 Ελλάς naïve",
]
CHARACTERS = character_vocabulary(["".join(TEXTS[:4]), *TEXTS[5:]])
WORDS = Vocab([*CHARACTERS.tokens, "今天", "天气", "我们", "公园", "北京大学", "研究生", "学习", "19", "##99", "node"])
TOKENIZERS = [CharTokenizer(CHARACTERS), WordTokenizer(WORDS), WordTokenizer(WORDS, do_lower_case=False)]
ids_of_kind = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["char", "word", "cased word"])

SNIPPETS = st.sampled_from(
    [*"今天气好去公园。！？\n ，", "node", "19", "99", "é", "カ", "[MASK]", "T恤", "\u200b", "##"]
)


@cache
def flattener(tokenizer):
    """Whole words; made once, because it reads a dictionary."""
    return Flattener(tokenizer, whole_words=True)


def own_ids(tokenizer, text):
    return tokenizer.encode(text).token_ids[1:-1]


def documents(arrays):
    """Ids of each document."""
    bounds = arrays.sentence_offsets[arrays.document_offsets].tolist()
    return [arrays.token_ids[a:b].tolist() for a, b in pairwise(bounds)]


def word_starts(arrays):
    return np.unpackbits(arrays.word_bits, count=arrays.num_tokens).astype(bool)


def words(arrays, tokenizer):
    """Tokens, joined to words."""
    found = []
    for index, starts in zip(arrays.token_ids.tolist(), word_starts(arrays).tolist(), strict=True):
        if starts:
            found.append([])
        found[-1].append(tokenizer.vocab.tokens[index])
    return [" ".join(word) for word in found]


@ids_of_kind
@pytest.mark.parametrize("whole_words", [False, True])
def test_documents_hold_the_tokens_of_their_texts(tokenizer, whole_words):
    arrays, counts = Flattener(tokenizer, whole_words=whole_words)(TEXTS)
    expected = [own_ids(tokenizer, text) for text in TEXTS]
    assert documents(arrays) == [ids for ids in expected if ids]
    assert arrays.digests.tolist() == [digest(text) for text, ids in zip(TEXTS, expected, strict=True) if ids]
    assert arrays.token_ids.dtype == np.uint16
    assert counts.num_texts == len(TEXTS)
    assert counts.num_empty_texts == sum(not ids for ids in expected)
    assert counts.num_characters == sum(map(len, TEXTS))
    assert counts.num_tokens == sum(map(len, expected)) == arrays.num_tokens
    assert counts.num_unknown == sum(ids.count(tokenizer.unk_token_id) for ids in expected)
    assert counts.num_sentences == len(arrays.sentence_offsets) - 1
    assert (np.diff(arrays.sentence_offsets.astype(int)) > 0).all()


@ids_of_kind
@given(texts=st.lists(st.lists(SNIPPETS).map("".join), max_size=4))
def test_any_texts(tokenizer, texts):
    arrays, _ = flattener(tokenizer)(texts)
    assert documents(arrays) == [ids for ids in (own_ids(tokenizer, text) for text in texts) if ids]
    starts = word_starts(arrays)
    assert starts[arrays.sentence_offsets[:-1]].all()
    first_of_words = arrays.token_ids[starts].tolist()
    assert not any(tokenizer.vocab.tokens[index].startswith("##") for index in first_of_words)


def test_sentences_end_where_they_should():
    tokenizer = TOKENIZERS[0]
    arrays, _ = Flattener(tokenizer, whole_words=True)(["好。很好！", "是"])
    assert np.diff(arrays.sentence_offsets).tolist() == [2, 3, 1]
    assert arrays.document_offsets.tolist() == [0, 2, 3]


def test_words_of_a_character_tokenizer_are_the_segments():
    tokenizer = TOKENIZERS[0]
    text = "北京大学的研究生在公园散步，价格是1999元。"
    arrays, _ = Flattener(tokenizer, whole_words=True)([text])
    segments = build_segmenter("rjieba")(text)
    assert [word.replace(" ", "").replace("##", "") for word in words(arrays, tokenizer)] == segments
    assert "北 京 大 学" in words(arrays, tokenizer)
    assert "1 ##9 ##9 ##9" in words(arrays, tokenizer)


def test_words_of_a_word_tokenizer_are_tokens_or_segments_in_pieces():
    tokenizer = TOKENIZERS[1]
    arrays, _ = Flattener(tokenizer, whole_words=True)(["北京大学的天气，散步1999"])
    assert words(arrays, tokenizer) == ["北京大学", "的", "天气", "，", "散 步", "19 ##99"]


def test_a_latin_word_that_the_segmenter_parts_stays_one():
    tokenizer = CharTokenizer(Vocab([*SPECIAL_TOKENS, "na", "##ive", "春"]))
    arrays, _ = Flattener(tokenizer, whole_words=True)(["naïve春"])
    assert words(arrays, tokenizer) == ["na ##ive", "春"]


@ids_of_kind
def test_without_whole_words_every_token_is_one(tokenizer):
    arrays, _ = Flattener(tokenizer, whole_words=False)(["北京大学1999"])
    starts = word_starts(arrays)
    assert starts.all() if tokenizer.kind == "char" else starts.sum() >= 2


@ids_of_kind
def test_the_size_of_blocks_changes_nothing(tokenizer, monkeypatch):
    chance = random.Random(1)
    texts = ["".join(chance.choices("今天气好去公园北京大学。 ", k=chance.randint(0, 400))) for _ in range(30)]
    whole, _ = Flattener(tokenizer, whole_words=True)(texts)
    monkeypatch.setattr(flatten._CharEncoder, "block", 37)
    monkeypatch.setattr(flatten._WordEncoder, "block", 37)
    small, _ = Flattener(tokenizer, whole_words=True)(texts)
    for name in ("token_ids", "word_bits", "sentence_offsets", "document_offsets", "digests"):
        assert np.array_equal(getattr(whole, name), getattr(small, name))


def test_an_endless_line_is_parted_between_words():
    tokenizer = CharTokenizer(character_vocabulary(["雨水"]))
    text = "雨" * 200_000 + "abc " * 50_000 + "z" * 70_000
    arrays, counts = Flattener(tokenizer, whole_words=False)([text])
    assert np.diff(arrays.sentence_offsets.astype(int)).max() <= 1 << 16
    assert counts.num_sentences > 5
    assert arrays.token_ids.tolist() == own_ids(tokenizer, text)


def test_no_texts():
    arrays, counts = Flattener(TOKENIZERS[0], whole_words=True)([])
    assert arrays.num_tokens == counts.num_texts == len(arrays.digests) == 0
    assert documents_of(["", " "], TOKENIZERS[0]).num_documents == 0


def test_large_vocabularies_take_wider_numbers():
    tokens = [*SPECIAL_TOKENS, *(f"w{number}" for number in range(70_000)), "雨"]
    tokenizer = CharTokenizer(Vocab(tokens))
    arrays, _ = Flattener(tokenizer, whole_words=False)(["雨"])
    assert arrays.token_ids.dtype == np.uint32
    assert arrays.token_ids.tolist() == [len(tokens) - 1]


def test_digests_are_even_and_fixed():
    assert digest("春眠不觉晓") == digest("春眠不觉晓") != digest("春眠不觉晓。")
    values = np.array([digest(f"第{number}篇") for number in range(20_000)])
    assert (values < 0.1 * 2**32).mean() == pytest.approx(0.1, abs=0.01)
