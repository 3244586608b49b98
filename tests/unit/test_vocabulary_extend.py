"""The WoBERT recipe: what is dropped, what is added, and what the rows of new words are made of."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

import tiny
from nlpx.errors import InputError
from nlpx.jobs.vocab.sources import dictionary_words, words_of
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.characters import lower_and_strip
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab
from nlpx.tokenizers.vocabulary.extend import extend, is_redundant, simplify
from nlpx.tokenizers.word import WordTokenizer
from quick_jieba import quick_jieba  # noqa: F401 - a fixture of this file

LATIN = list("abcdefghij0123456789") + [f"##{character}" for character in "abcdefghij0123456789"]
USELESS = ["##春", "##，", "[unused1]", "春天", "--", "##"]
BASE = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "，", "。", *tiny.CHARACTERS, *LATIN, *USELESS[2:]]
BASE += ["##春", "##，", "", "天", "春"]  # 春 is written twice, and a line is blank
TOKENIZER = CharTokenizer(Vocab(BASE))
WORDS = [
    ("春天", 9),
    ("春风", 8),
    ("花草", 7),
    ("海", 6),
    ("海外", 5),
    ("bad 2", 5),
    ("abc", 4),
    ("A1", 3),
    ("春风", 1),
    ("云鱼鸟", 1),
]
TEXTS = ["春天，东风吹花草。", "abc 是 bad2 的 CAFÉ", "湖海星云 [MASK] 山川\t雷电"]


@pytest.mark.parametrize(
    ("token", "in_characters", "in_words"),
    [
        ("春", False, False), ("春天", True, False), ("##春", True, True), ("##ing", False, False),
        ("[unused1]", True, True), ("##，", True, True), ("--", True, False), ("-", False, False),
        ("", True, True), ("play", False, False), ("##", True, False), ("#", False, False),
    ],
)  # fmt: skip
def test_what_is_redundant(token, in_characters, in_words):
    assert (is_redundant(token, "char"), is_redundant(token, "word")) == (in_characters, in_words)


def test_nothing_a_text_can_use_is_dropped():
    """The oracle is the tokenizer: after simplifying, every text has the tokens it had."""
    kept = simplify(TOKENIZER.vocab, "char")
    simple = CharTokenizer(Vocab(kept.tokens))
    assert [simple.tokenize(text) for text in TEXTS] == [TOKENIZER.tokenize(text) for text in TEXTS]
    produced = {token for token in BASE if token and TOKENIZER.tokenize(token.removeprefix("##")) == [token]}
    assert produced <= set(kept.tokens) | set(SPECIAL_TOKENS)


def test_simplify_puts_special_tokens_first_and_records_ids():
    kept = simplify(TOKENIZER.vocab, "char")
    assert kept.tokens[:5] == list(SPECIAL_TOKENS)
    assert [BASE[index] for index in kept.keep_tokens] == kept.tokens
    assert len(set(kept.tokens)) == len(kept.tokens)
    assert not set(USELESS) & set(kept.tokens)
    assert kept.keep_tokens[kept.tokens.index("春")] == len(BASE) - 1  # of two lines the last is in use
    assert kept.keep_tokens[5:] == sorted(kept.keep_tokens[5:])
    with_unused = simplify(TOKENIZER.vocab, "char", keep_unused=True)
    assert set(with_unused.tokens) - set(kept.tokens) == {"[unused1]"}


def test_words_are_added_by_frequency_if_they_fit():
    found = extend(TOKENIZER, WORDS, size=10)
    assert found.words == ["春天", "春风", "花草", "abc", "a1"]
    assert found.skipped == Counter(
        {"one character, or several words": 2, "not spellable": 1, "never a word of the segmenter": 1,
         "there already": 1},
    )  # fmt: skip
    assert extend(TOKENIZER, WORDS, size=2).words == ["春天", "春风"]


def test_sizes_ids_and_pieces():
    found = extend(TOKENIZER, WORDS, size=10)
    tokens = found.tokenizer.vocab.tokens
    assert len(tokens) == len(found.keep_tokens) + len(found.words) == len(set(tokens))
    assert tokens[: len(found.keep_tokens)] == [BASE[index] for index in found.keep_tokens]
    spelt = [[tokens[piece] for piece in pieces] for pieces in found.compound_tokens]
    assert spelt == [TOKENIZER.tokenize(word) for word in found.words]
    assert spelt[0] == ["春", "天"]
    assert spelt[3] == ["a", "##b", "##c"]
    assert isinstance(found.tokenizer, WordTokenizer)
    assert found.tokenizer.tokenize("春天，花草 abc") == ["春天", "，", "花草", "abc"]


def test_an_empty_list_leaves_the_tokens_alone():
    same = extend(TOKENIZER, [], size=0)
    assert (same.tokenizer.kind, same.words, same.compound_tokens) == ("char", [], [])
    as_words = extend(TOKENIZER, [], size=5).tokenizer
    assert as_words.kind == "word"
    for tokenizer in (same.tokenizer, as_words):
        for text in (TEXTS[0], TEXTS[1], TEXTS[2].replace("[MASK]", "")):
            assert tokenizer.tokenize(text) == TOKENIZER.tokenize(text)


def test_decoding_gives_the_normalised_text_and_words_make_it_shorter():
    found = extend(TOKENIZER, words_of("jieba", min_count=1)[0], size=100)
    text = "春风，花草，日月，山川，雷电。"
    ids = found.tokenizer.encode(text).token_ids
    assert found.tokenizer.decode(ids) == lower_and_strip(text)
    assert len(ids) - 2 == 10
    assert len(TOKENIZER.encode(text).token_ids) - 2 == len(text)


def test_teaching_the_segmenter():
    odd = [("云鱼鸟", 3), ("花草", 2)]
    assert extend(TOKENIZER, odd, size=5).words == ["花草"]
    found = extend(TOKENIZER, odd, size=5, teach=True)
    assert (found.words, found.taught) == (["云鱼鸟", "花草"], ["云鱼鸟"])
    assert found.tokenizer.tokenize("看云鱼鸟花草") == ["[UNK]", "云鱼鸟", "花草"]


def test_a_word_vocabulary_grows():
    first = extend(TOKENIZER, WORDS, size=2)
    second = extend(first.tokenizer, [("春天", 9), ("花草", 7)], size=5)
    assert second.words == ["花草"]
    assert second.skipped["there already"] == 1
    assert second.keep_tokens == list(range(len(first.tokenizer.vocab)))


def test_weights_of_pieces():
    words = [("春天", 9), ("abc", 1)]
    vocab = extend(TOKENIZER, words, size=2).tokenizer.vocab
    by_size = extend(TOKENIZER, words, size=2, weights="characters").compound_tokens
    assert by_size == [
        ([vocab.ids["春"], vocab.ids["天"]], [1.0, 1.0]),
        ([vocab.ids[piece] for piece in ("a", "##b", "##c")], [1.0, 1.0, 1.0]),
    ]
    by_rarity = extend(TOKENIZER, [("春天", 9), ("春风", 1)], size=2, weights="rarity").compound_tokens
    (_, (spring, wind)) = by_rarity[1]
    assert spring == pytest.approx(1e-3 / (1e-3 + 10 / 20))
    assert wind == pytest.approx(1e-3 / (1e-3 + 1 / 20))


def test_special_tokens_are_asked_for_or_added():
    lacking = CharTokenizer(Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "春", "风"], source="x/vocab.txt"))
    with pytest.raises(InputError, match=r"x/vocab\.txt has no \[MASK\] among its 6 entries") as caught:
        extend(lacking, [("春风", 2)])
    assert "--add-special" in (caught.value.hint or "")
    found = extend(lacking, [("春风", 2)], add_special=True)
    assert found.tokenizer.vocab.tokens == [*lacking.vocab.tokens, "[MASK]", "春风"]
    assert found.compound_tokens == [[1], [4, 5]]


def test_a_tokenizer_that_leaves_chinese_together_is_refused():
    joined = CharTokenizer(Vocab([*tiny.VOCAB, "##春"]), tokenize_chinese_chars=False)
    with pytest.raises(InputError, match="does not set Chinese characters apart"):
        extend(joined, WORDS)


def test_the_dictionary_comes_by_descending_frequency():
    words, origin = words_of("jieba", min_count=50)
    assert origin.startswith("the dictionary of jieba 0.")
    assert words == sorted(words, key=lambda item: (-item[1], item[0]))
    assert words[-1][1] >= 50
    assert all(count > 0 for _, count in islice(dictionary_words(), 1000))
