"""Cutting a vocabulary: no text of the corpus changes its tokens, whatever else goes."""

from __future__ import annotations

import random

import pytest

import tiny
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab
from nlpx.tokenizers.vocabulary.extend import with_vocabulary
from nlpx.tokenizers.vocabulary.kinds import duplicates, entries_by_kind
from nlpx.tokenizers.vocabulary.trim import Usage, pieces_until_failure, trimmed
from nlpx.tokenizers.word import WordTokenizer


def trim(tokenizer, texts, min_count=1):
    usage = Usage(tokenizer)
    usage.add(texts)
    kept = usage.kept(min_count)
    return usage, kept, with_vocabulary(tokenizer, trimmed(tokenizer.vocab, kept))


def test_what_stays():
    vocab = Vocab(["春", "夏", "秋", "，", "a", "##a", "b", "ab", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "é"])
    usage, kept, small = trim(CharTokenizer(vocab, do_lower_case=False), ["春，秋秋", "ab"])
    assert small.vocab.tokens == [*SPECIAL_TOKENS, "春", "秋", "，", "a", "##a", "b", "ab"]
    assert [vocab.tokens[index] for index in kept] == small.vocab.tokens
    assert (usage.num_texts, usage.num_tokens, usage.num_unknown, usage.num_characters) == (2, 5, 0, 6)
    assert usage.counts[vocab.ids["秋"]] == 2


def test_rare_entries_go_with_a_minimum_count():
    _, _, small = trim(CharTokenizer(Vocab(tiny.VOCAB)), ["春春夏", "春秋秋"], min_count=2)
    assert small.vocab.tokens == [*SPECIAL_TOKENS, "春", "秋"]


def test_an_unknown_word_stays_unknown():
    """`xy` is used by no token, but without it `xyz` would be trim as `x ##yz`."""
    vocab = Vocab([*SPECIAL_TOKENS, "xy", "x", "##yz", "wyz", "##z1", "ww", "##ww"])
    tokenizer = CharTokenizer(vocab)
    texts = ["XYz", "x", "x y", "xyzyz", "ww"]
    usage, _, small = trim(tokenizer, texts)
    assert "[UNK]" in tokenizer.tokenize("xyz")
    assert [small.tokenize(text) for text in texts] == [tokenizer.tokenize(text) for text in texts]
    assert "xy" in small.vocab.ids
    assert "##z1" not in small.vocab.ids
    assert usage.num_unknown == 3
    assert pieces_until_failure("xyq", vocab.ids) == [vocab.ids["xy"]]


@pytest.mark.parametrize("kind", [CharTokenizer, WordTokenizer])
def test_no_text_changes_its_tokens(kind):
    chance = random.Random(0)
    letters = "abcd"
    pieces = {"".join(chance.choices(letters, k=chance.randint(1, 3))) for _ in range(40)}
    pieces |= {"##" + "".join(chance.choices(letters, k=chance.randint(1, 3))) for _ in range(40)}
    pieces -= {"a", "##b"}
    words = ["春风", "山川", "花草", "日月"]
    tokenizer = kind(Vocab([*tiny.VOCAB, *sorted(pieces), *words]))
    texts = [
        " ".join(
            "".join(chance.choices(letters, k=chance.randint(1, 9))) + "".join(chance.choices(tiny.CHARACTERS, k=3))
            for _ in range(3)
        )
        for _ in range(60)
    ] + ["春风 山川", "ÀB\u200bcd", "吹"]
    usage, kept, small = trim(tokenizer, texts)
    assert usage.num_unknown > 5
    assert len(kept) < len(tokenizer.vocab)
    assert [small.tokenize(text) for text in texts] == [tokenizer.tokenize(text) for text in texts]


def test_counts_of_repeated_texts():
    once, often = Usage(CharTokenizer(Vocab(tiny.VOCAB))), Usage(CharTokenizer(Vocab(tiny.VOCAB)))
    once.add(["春风", "春风", "春风"])
    often.add(["春风"], 3)
    assert (once.counts == often.counts).all()
    assert (often.num_texts, often.num_characters) == (3, 6)


def test_kinds_of_entries():
    vocab = Vocab(
        [*SPECIAL_TOKENS, "[unused3]", "春", "春天", "一日之计", "计算机科学", "##春", "play", "##ing", "a", "2024",
         "##24", "，", "--", "", "α", "春a", "##α", "春"]
    )  # fmt: skip
    assert entries_by_kind(vocab) == {
        "special tokens": 5, "Chinese characters": 2, "words of 2 characters": 1, "words of 4 characters": 1,
        "words of 5 and more characters": 1, "Latin words": 1, "Latin letters": 1, "Latin pieces": 1, "numbers": 1,
        "number pieces": 1, "Chinese pieces": 1, "punctuation": 2, "unused": 1, "blank lines": 1, "other": 3,
    }  # fmt: skip
    assert duplicates(vocab) == ["春"]
