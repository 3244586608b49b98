"""Shards of the real corpus: nothing lost, words whole, the same by two workers as by one."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from nlpx.data.batches.masking import SpecialIds
from nlpx.data.batches.packing import pack
from nlpx.data.corpus.flatten import Flattener
from nlpx.data.corpus.sentences import split_sentences
from nlpx.data.corpus.texts import Reading, find_sources, read_texts
from nlpx.data.shards.build import build_shards
from nlpx.messages import Silent
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.segment import build_segmenter
from nlpx.tokenizers.vocab import Vocab
from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary
from nlpx.tokenizers.word import WordTokenizer

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CORPUS = DATA / "corpus_0.jsonl.gz"

pytestmark = pytest.mark.skipif(not CORPUS.is_file(), reason="the shared data are not beside this checkout")


@pytest.fixture(scope="module")
def texts():
    (source,) = find_sources([str(CORPUS)])
    return list(read_texts(source, Reading()))


@pytest.fixture(scope="module")
def characters(texts):
    return character_vocabulary(texts)


def test_sentences_lose_nothing(texts):
    assert "".join(sentence for text in texts for sentence in split_sentences(text)) == "".join(texts)


def test_tokens_in_are_tokens_out(texts, characters, tmp_path):
    tokenizer, folder = CharTokenizer(characters), tmp_path / "shards"
    options = {"reading": Reading(), "whole_words": False, "held_out": 0.02, "messages": Silent()}
    shards = build_shards(find_sources([str(CORPUS)]), tokenizer, directory=folder, workers=2, **options)
    expected = sum(len(row.token_ids) - 2 for row in tokenizer.encode_batch(texts))
    assert shards.num_documents == len(texts)
    assert shards.num_tokens == expected
    sides = [pack(side, max_length=128, special=SpecialIds.of(tokenizer), keep_apart=False, seed=1)
             for side in (shards.train, shards.held_out)]  # fmt: skip
    assert sum(int(rows.lengths.sum()) - 2 * len(rows) for rows in sides) == expected
    assert 0.01 < shards.held_out.num_documents / len(texts) < 0.03
    assert sides[0].lengths.mean() > 0.75 * 128
    again = build_shards(find_sources([str(CORPUS)]), tokenizer, directory=tmp_path / "alone", workers=1, **options)
    for file in sorted(folder.glob("0*/*")):
        assert file.read_bytes() == (again.folder / file.relative_to(folder)).read_bytes()


@pytest.mark.parametrize("kind", ["char", "word"])
def test_words_are_the_segments(texts, characters, kind):
    words = [word for word in build_segmenter("rjieba")("".join(texts[:300])) if len(word) > 1]
    word_vocabulary = Vocab(list(dict.fromkeys([*characters.tokens, *words])))
    tokenizer = CharTokenizer(characters) if kind == "char" else WordTokenizer(word_vocabulary)
    flatten, cut = Flattener(tokenizer, whole_words=True), build_segmenter("rjieba")
    for text in islice(texts, 0, None, 50):
        arrays, _ = flatten([text])
        assert arrays.token_ids.tolist() == tokenizer.encode(text).token_ids[1:-1]
        starts = np.unpackbits(arrays.word_bits, count=arrays.num_tokens)
        # Every segment with a token is a word; Latin words that the segmenter parts stay one.
        parts = [len(tokenizer.encode(part).token_ids) > 2 for part in cut(text.lower())]
        assert 0 <= sum(parts) - int(starts.sum()) <= 0.02 * len(parts)
