"""Vocabularies from counts: order, size, `##` forms, words, coverage."""

from __future__ import annotations

from collections import Counter

import pytest

from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocab import SPECIAL_TOKENS
from nlpx.tokenizers.vocabulary.build import (
    ALPHANUMERIC,
    SMALLEST,
    build_vocabulary,
    character_coverage,
    count_characters,
    count_words,
)
from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary
from nlpx.tokenizers.word import WordTokenizer

TEXTS = [
    "山高月小，水落石出。",
    "Café 里 5℃，ナイフ 与 αβγ；ＡＢ 共 123 元。",
    "山山水水\u200b\x00\ufffd　山",
]


def characters(*texts: str) -> Counter[str]:
    return count_characters(Counter(texts).items())


def test_the_order_is_special_tokens_latin_then_frequency_then_code_point():
    built = build_vocabulary(characters("水水山山山月日"))
    start = [*SPECIAL_TOKENS, *ALPHANUMERIC, *(f"##{character}" for character in ALPHANUMERIC)]
    assert built.vocab.tokens == [*start, "山", "水", "日", "月"]
    assert (built.num_characters, built.num_words, built.coverage) == (4, 0, 1.0)


def test_nothing_of_the_texts_is_unknown():
    vocab = character_vocabulary(TEXTS)
    tokenizer = CharTokenizer(vocab)
    assert len(set(vocab.tokens)) == len(vocab)
    for text in [*TEXTS, "Hello WORLD 2024", "ナイフαβ5℃x", "γγγ"]:
        assert "[UNK]" not in tokenizer.tokenize(text), text
    assert tokenizer.tokenize("ナイフ") == ["ナ", "##イ", "##フ"]


def test_what_vanishes_is_no_entry():
    assert not {"\u200b", "\x00", "\ufffd", "\u3000", " ", "É", "é"} & set(character_vocabulary(TEXTS).tokens)


def test_the_size_is_a_limit_and_two_forms_count_twice():
    counts = Counter({"α": 9, "山": 8, "β": 7, "水": 6, "月": 5})
    tokens = build_vocabulary(counts, size=SMALLEST + 4).vocab.tokens[SMALLEST:]
    assert tokens == ["α", "##α", "山", "水"]  # β would need two
    tokens = build_vocabulary(counts, size=SMALLEST + 5, min_count=7).vocab.tokens[SMALLEST:]
    assert tokens == ["α", "##α", "山", "β", "##β"]
    assert character_vocabulary(["山山水"], max_size=10).tokens[-1] == "##9"


def test_coverage_is_the_share_of_characters():
    counts = Counter({"山": 90, "水": 9, "月": 1})
    assert build_vocabulary(counts, size=SMALLEST + 2).coverage == pytest.approx(0.99)
    assert character_coverage(counts, ["山"]) == pytest.approx(0.9)
    assert character_coverage({}, []) == 1.0


def test_words_follow_once_the_characters_cover_enough():
    counts = [("山水", 10), ("山", 5), ("月亮", 3), ("亮", 1), ("Wi fi", 4), ("Wifi", 2)]
    words = count_words(counts)
    assert words == {"山水": 10, "月亮": 3, "wifi": 2}
    found = count_characters(counts)
    built = build_vocabulary(found, words, size=SMALLEST + 5, coverage=1.0)
    assert built.vocab.tokens[SMALLEST:] == ["山", "水", "亮", "月", "山水"]
    # 25 of the characters beyond letters are 山 and 水; 月亮 cannot be spelt without 月, so it is no word either.
    share = (25 + 4 * 4 + 2 * 4) / sum(found.values())
    built = build_vocabulary(found, words, size=SMALLEST + 9, coverage=share)
    assert built.vocab.tokens[SMALLEST:] == ["山", "水", "山水", "wifi"]
    assert (built.num_characters, built.num_words) == (2, 2)


def test_a_word_vocabulary_keeps_its_words_whole():
    counts = [("春天", 5), ("来", 3), ("了", 3), ("。", 1)]
    built = build_vocabulary(count_characters(counts), count_words(counts))
    assert WordTokenizer(built.vocab).tokenize("春天来了。") == ["春天", "来", "了", "。"]
