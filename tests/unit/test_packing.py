"""Packing: every token once, rows of the right form, greedy, and the same rows for the same seed."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpx.data.batches.masking import SpecialIds, mask_words, row_generator
from nlpx.data.batches.packing import pack
from nlpx.data.corpus.documents import Documents, TokenArrays, offsets_of
from nlpx.data.corpus.flatten import documents_of
from nlpx.errors import UsageError
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary

PAD, UNK, CLS, SEP, MASK = range(5)
SPECIAL = SpecialIds(PAD, UNK, CLS, SEP, MASK, 60_000, frozenset(range(5)))
BOTH = pytest.mark.parametrize("keep_apart", [True, False], ids=["apart", "run on"])

# Parts of documents of sentences, each the number of its tokens.
SHAPES = st.lists(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), max_size=8),
    min_size=1,
    max_size=4,
)


def part_of(shape, first=10):
    """Documents whose tokens count up, so that each token tells its place."""
    lengths = [length for document in shape for length in document]
    ids = np.arange(first, first + sum(lengths), dtype=np.uint16)
    starts = np.random.default_rng(len(lengths)).random(len(ids)) < 0.5
    offsets = offsets_of(np.array([len(document) for document in shape], dtype=np.int64))
    digests = np.arange(len(shape), dtype=np.uint32)
    return TokenArrays(
        ids, np.packbits(starts), offsets_of(np.array(lengths)).astype(np.uint32), offsets.astype(np.uint32), digests
    )


def documents_from(shapes):
    parts, first = [], 10
    for shape in shapes:
        parts.append(part_of(shape, first))
        first += parts[-1].num_tokens
    return Documents(parts)


def packed(documents, *, max_length=20, keep_apart=False, seed=0):
    return pack(documents, max_length=max_length, special=SPECIAL, keep_apart=keep_apart, seed=seed)


def rows_of(rows):
    return [rows.row(index) for index in range(len(rows))]


def text_of(row):
    return row.token_ids[~row.is_special].tolist()


def some_shapes(seed=0):
    random = np.random.default_rng(seed)
    return [
        [random.integers(1, 45, random.integers(1, 12)).tolist() for _ in range(count)] for count in (40, 1, 25, 60)
    ]


@BOTH
@given(shapes=SHAPES, max_length=st.integers(3, 30), seed=st.integers(0, 5))
def test_every_token_once_and_no_row_too_long(keep_apart, shapes, max_length, seed):
    documents = documents_from(shapes)
    rows = packed(documents, max_length=max_length, keep_apart=keep_apart, seed=seed)
    found = [token for row in rows_of(rows) for token in text_of(row)]
    assert sorted(found) == list(range(10, 10 + documents.num_tokens))
    assert rows.lengths.tolist() == [len(row.token_ids) for row in rows_of(rows)]
    assert rows.lengths.dtype == np.int64
    assert all(2 < length <= max_length for length in rows.lengths.tolist())


@BOTH
def test_documents_stay_whole_and_in_order(keep_apart):
    documents = documents_from(some_shapes())
    text = [token for row in rows_of(packed(documents, keep_apart=keep_apart)) for token in text_of(row)]
    place = {token: index for index, token in enumerate(text)}
    first = 10
    for shape in some_shapes():
        for document in shape:
            assert [place[first + step] - place[first] for step in range(sum(document))] == list(range(sum(document)))
            first += sum(document)


def test_a_row_that_runs_on_has_one_frame():
    for row in rows_of(packed(documents_from(some_shapes()))):
        assert row.token_ids[0] == CLS
        assert row.token_ids[-1] == SEP
        assert np.flatnonzero(row.is_special).tolist() == [0, len(row.token_ids) - 1]
        assert not row.document_ids.any()


def test_documents_apart_have_a_frame_each():
    documents = documents_from(some_shapes())
    bounds = np.cumsum([10, *(sum(document) for shape in some_shapes() for document in shape)])
    for row in rows_of(packed(documents, max_length=100, keep_apart=True)):
        for number in range(row.document_ids[-1] + 1):
            ids = row.token_ids[row.document_ids == number].tolist()
            assert ids[0] == CLS
            assert ids[-1] == SEP
            assert len(ids) > 2
            assert len(set(np.searchsorted(bounds, ids[1:-1], side="right"))) == 1
        assert (np.diff(row.document_ids) >= 0).all()
        assert np.unique(row.document_ids).tolist() == list(range(row.document_ids[-1] + 1))


def sentence_of(shapes):
    """Which sentence and which document each token, counted from 10, belongs to."""
    lengths = [length for shape in shapes for document in shape for length in document]
    documents = [number for number, document in enumerate(chain.from_iterable(shapes)) for _ in document]
    return np.repeat(np.arange(len(lengths)), lengths), np.repeat(documents, lengths), lengths


@BOTH
@pytest.mark.parametrize("max_length", [20, 64, 200])
def test_greedy(keep_apart, max_length):
    shapes = some_shapes()
    sentences, origins, lengths = sentence_of(shapes)
    rows = rows_of(packed(documents_from(shapes), max_length=max_length, keep_apart=keep_apart))
    for row, following in pairwise(rows):
        last, first = text_of(row)[-1] - 10, text_of(following)[0] - 10
        if sentences[last] == sentences[first]:  # a sentence longer than a row goes on
            assert lengths[sentences[first]] > max_length - 2
            continue
        needed = min(lengths[sentences[first]], max_length - 2)
        needed += 2 if keep_apart and origins[last] != origins[first] else 0
        assert len(row.token_ids) + needed > max_length


@BOTH
def test_sentences_are_not_parted_without_need(keep_apart):
    shapes = some_shapes()
    sentences, _, lengths = sentence_of(shapes)
    for row in rows_of(packed(documents_from(shapes), max_length=50, keep_apart=keep_apart)):
        inside = np.bincount(sentences[np.array(text_of(row)) - 10])
        assert all(count in (0, lengths[number]) for number, count in enumerate(inside))


def test_a_long_sentence_fills_rows_and_leaves_room_after_its_end():
    rows = rows_of(packed(documents_from([[[50, 3]]]), max_length=20))
    assert [len(row.token_ids) for row in rows] == [20, 20, 19]
    assert [text_of(row)[0] for row in rows] == [10, 28, 46]


def test_words():
    shape = [[30], [9], [2], [3, 3], [1], [4]]
    part = part_of(shape)
    starts = np.unpackbits(part.word_bits, count=52).astype(bool)
    starts[np.cumsum([0, *map(sum, shape[:-1])])] = True  # so does a document, also within a row
    for row in rows_of(packed(Documents([part]), max_length=12)):
        text = ~row.is_special
        expected = starts[row.token_ids[text] - 10]
        expected[0] = True  # a row begins a word, whatever was cut
        assert np.array_equal(row.word_starts[text], expected)
        assert not row.word_starts[row.is_special].any()


def test_special_tokens_in_the_text_part_words():
    ids = np.array([20, MASK, 21, 22, UNK, UNK, 23], dtype=np.uint16)
    bits = np.packbits([True, False, False, False, True, False, False])
    part = TokenArrays(
        ids, bits, np.array([0, 7], dtype=np.uint32), np.array([0, 1], dtype=np.uint32), np.zeros(1, np.uint32)
    )
    (row,) = rows_of(packed(Documents([part])))
    assert row.is_special.tolist() == [True, False, True, False, False, True, True, False, True]
    assert row.word_starts.tolist() == [False, True, False, True, False, False, False, True, False]


@BOTH
def test_the_seed_decides_the_order(keep_apart):
    documents = documents_from(some_shapes())

    def text(seed):
        return [row.token_ids.tolist() for row in rows_of(packed(documents, keep_apart=keep_apart, seed=seed))]

    assert text(0) == text(0) != text(1)


def test_parts_are_packed_as_if_they_were_one_stream():
    shapes = [[[3, 4], [5]], [], [[2]], [[6, 1]]]
    rows = rows_of(packed(documents_from(shapes), max_length=100))
    assert len(rows) == 1
    assert len(text_of(rows[0])) == 21


def test_only_the_chosen_documents():
    parts = [part_of([[4], [5], [6]]), part_of([[7], [8]], first=25)]
    documents = Documents(parts, [np.array([0, 2]), np.array([1])])
    assert (documents.num_documents, documents.num_sentences, documents.num_tokens) == (3, 3, 18)
    found = sorted(token for row in rows_of(packed(documents)) for token in text_of(row))
    assert found == [*range(10, 14), *range(19, 25), *range(32, 40)]


@BOTH
def test_nothing_to_pack(keep_apart):
    for documents in (Documents([]), Documents([part_of([])])):
        rows = packed(documents, keep_apart=keep_apart)
        assert len(rows) == 0
        assert rows.lengths.tolist() == []


def test_no_room():
    with pytest.raises(UsageError, match="max_length 2 leaves no room"):
        packed(documents_from([[[1]]]), max_length=2)


@BOTH
def test_unmasking_gives_the_corpus_again(keep_apart):
    texts = ["春天来了。花开了！", "夏天很热。我们去游泳吧？好的！", "秋风起", "冬雪1999年。" * 9]
    tokenizer = CharTokenizer(character_vocabulary(texts))
    special = SpecialIds.of(tokenizer)
    rows = pack(documents_of(texts, tokenizer), max_length=16, special=special, keep_apart=keep_apart, seed=4)
    restored = []
    for index in range(len(rows)):
        row = rows.row(index)
        ids, positions = mask_words(row, row_generator(1, 0, index, "test"), special, rate=0.5)
        ids[positions] = row.token_ids[positions]
        restored += ids[~row.is_special].tolist()
    expected = [tokenizer.encode(text).token_ids[1:-1] for text in texts]
    text = " ".join(map(str, restored))
    assert len(restored) == sum(map(len, expected))
    assert all(" ".join(map(str, ids)) in text for ids in expected)
