"""Both tokenizers on the real texts: ids equal to the references on every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocab import Vocab
from nlpx.tokenizers.word import WordTokenizer
from real_texts import DATA, FILES
from real_texts import texts as texts_of

SAMPLE = 400  # strings a file in the run that is always made

pytestmark = pytest.mark.skipif(not FILES, reason="the shared data are not beside this checkout")


def batches(path: Path, limit: int | None) -> Iterator[list[str]]:
    texts = islice(texts_of(path), limit)
    while batch := list(islice(texts, 4096)):
        yield batch


def build_vocabulary(num_words: int) -> Vocab:
    """About 9,000 characters and pieces counted on the data, and jieba's most frequent words."""
    counts: Counter[str] = Counter()
    for path in FILES:
        counts.update("".join(islice(texts_of(path), 3000)).lower())
    characters = [character for character, _ in counts.most_common(8000) if not character.isspace()]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [*letters, *("##" + letter for letter in letters), "the", "##ing", "20", "##19", "http", "##er"]
    special = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return Vocab(list(dict.fromkeys([*special, *pieces, *characters, *frequent_words(num_words)])))


def frequent_words(num_words: int) -> list[str]:
    if not num_words:
        return []
    import jieba

    engine = jieba.Tokenizer()
    engine.initialize()
    words = [word for word, frequency in engine.FREQ.items() if frequency and len(word) > 1]
    return sorted(words, key=lambda word: -engine.FREQ[word])[:num_words]


@pytest.fixture(scope="module")
def char_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[CharTokenizer, Any]:
    from transformers import BertTokenizerFast

    vocab = build_vocabulary(num_words=0)
    folder = tmp_path_factory.mktemp("char")
    (folder / "vocab.txt").write_text(vocab.text(), encoding="utf-8")
    return CharTokenizer(vocab), BertTokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="module")
def word_pair() -> tuple[WordTokenizer, WordTokenizer]:
    vocab = build_vocabulary(num_words=20_000)
    assert vocab.recognise()[0] == "word"
    return WordTokenizer(vocab), WordTokenizer(vocab, segmenter="jieba")


def count_char_differences(pair: tuple[CharTokenizer, Any], limit: int | None) -> tuple[int, int]:
    ours, theirs = pair
    rows = differing = 0
    for path in FILES:
        for batch in batches(path, limit):
            expected = theirs(batch)["input_ids"]
            found = ours.encode_batch(batch)
            differing += sum(a.token_ids != b for a, b in zip(found, expected, strict=True))
            rows += len(batch)
    return rows, differing


def count_word_differences(pair: tuple[WordTokenizer, WordTokenizer], limit: int | None) -> tuple[int, int]:
    rows = differing = 0
    for path in FILES:
        for batch in batches(path, limit):
            ours, reference = (tokenizer.encode_batch(batch) for tokenizer in pair)
            differing += sum(a.token_ids != b.token_ids for a, b in zip(ours, reference, strict=True))
            rows += len(batch)
    return rows, differing


def test_characters_equal_transformers_on_a_sample_of_every_file(char_pair: tuple[CharTokenizer, Any]) -> None:
    rows, differing = count_char_differences(char_pair, SAMPLE)
    assert rows > 10_000
    assert differing == 0


@pytest.mark.slow
def test_characters_equal_transformers_on_every_text(char_pair: tuple[CharTokenizer, Any]) -> None:
    rows, differing = count_char_differences(char_pair, None)
    print(f"{rows:,} rows, {differing} differ")
    assert differing == 0


def test_words_equal_between_both_segmenters_on_a_sample(word_pair: tuple[WordTokenizer, WordTokenizer]) -> None:
    rows, differing = count_word_differences(word_pair, SAMPLE // 4)
    assert rows > 3_000
    assert differing == 0


@pytest.mark.slow
def test_words_equal_between_both_segmenters_on_every_text(
    word_pair: tuple[WordTokenizer, WordTokenizer],
) -> None:
    rows, differing = count_word_differences(word_pair, None)
    print(f"{rows:,} rows, {differing} differ")
    assert differing == 0


def test_words_shorten_the_sequences(word_pair: tuple[WordTokenizer, WordTokenizer]) -> None:
    texts = list(islice(texts_of(DATA / "corpus_0.jsonl.gz"), 300))
    char = CharTokenizer(word_pair[0].vocab)
    num_word_ids, num_char_ids = (
        sum(len(row.token_ids) for row in tokenizer.encode_batch(texts)) for tokenizer in (word_pair[0], char)
    )
    assert num_word_ids < 0.85 * num_char_ids


def test_offsets_point_at_what_the_token_says(word_pair: tuple[WordTokenizer, WordTokenizer]) -> None:
    from nlpx.tokenizers.characters import lower_and_strip

    texts = [text for path in FILES for text in islice(texts_of(path), 40)]
    char = CharTokenizer(word_pair[0].vocab)
    for tokenizer in (word_pair[0], char):
        checked = 0
        for text, row in zip(texts, tokenizer.encode_batch(texts, return_offsets=True), strict=True):
            assert row.offsets is not None
            for index, (start, end) in zip(row.token_ids[1:-1], row.offsets[1:-1], strict=True):
                if index != tokenizer.unk_token_id:
                    token = tokenizer.vocab.tokens[index].removeprefix("##")
                    assert lower_and_strip(text[start:end]) == token
                    checked += 1
        assert checked > 50_000
