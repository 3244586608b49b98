"""Hiding words: the shares of the rule, whole words, and the same masks wherever a row is met."""

from __future__ import annotations

import numpy as np
import pytest

from nlpx.data.batches.masking import SpecialIds, mask_words, row_generator
from nlpx.data.batches.packing import PackedRow
from nlpx.errors import InputError
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab

PAD, UNK, CLS, SEP, MASK = range(5)
VOCAB = 1000
SPECIAL = SpecialIds(PAD, UNK, CLS, SEP, MASK, VOCAB, frozenset(range(5)) | {998})


def row_of(ids, starts):
    ids, starts = np.array([CLS, *ids, SEP]), np.array([False, *starts, False])
    return PackedRow(ids, starts, np.zeros(len(ids), dtype=np.int64), SPECIAL.table[ids])


def random_rows(count, length=1000, seed=0):
    random = np.random.default_rng(seed)
    for _ in range(count):
        starts = random.random(length) < 0.6
        starts[0] = True
        yield row_of(random.integers(5, 900, length), starts)


def masked(rows, **shares):
    for number, row in enumerate(rows):
        yield row, *mask_words(row, row_generator(1, 0, number, "test"), SPECIAL, **shares)


def test_shares_on_a_million_tokens():
    words = chosen = tokens = hidden = changed = kept = 0
    for row, ids, positions in masked(random_rows(1000)):
        words += row.word_starts.sum()
        chosen += row.word_starts[positions].sum()
        tokens += (~row.is_special).sum()
        new, old = ids[positions], row.token_ids[positions]
        hidden += (new == MASK).sum()
        kept += (new == old).sum()
        changed += ((new != MASK) & (new != old)).sum()
    total = hidden + changed + kept
    assert tokens == 1_000_000
    assert chosen / words == pytest.approx(0.15, abs=0.003)
    assert total / tokens == pytest.approx(0.15, abs=0.003)
    assert hidden / total == pytest.approx(0.8, abs=0.005)
    assert changed / total == pytest.approx(0.1, abs=0.005)
    assert kept / total == pytest.approx(0.1, abs=0.005)


def test_words_are_chosen_whole():
    for row, _, positions in masked(random_rows(50)):
        number = np.cumsum(row.word_starts)
        chosen = np.isin(number, number[positions]) & ~row.is_special
        assert np.array_equal(np.flatnonzero(chosen), positions)


def test_unmasking_restores_the_row_and_nothing_else_changed():
    for row, ids, positions in masked(random_rows(50)):
        untouched = np.setdiff1d(np.arange(len(ids)), positions)
        assert np.array_equal(ids[untouched], row.token_ids[untouched])
        ids[positions] = row.token_ids[positions]
        assert np.array_equal(ids, row.token_ids)


def test_the_row_itself_stays():
    (row,) = random_rows(1)
    before = row.token_ids.copy()
    ids, _ = mask_words(row, row_generator(1, 0, 0, "test"), SPECIAL, rate=0.9)
    assert not np.array_equal(ids, row.token_ids)
    assert np.array_equal(row.token_ids, before)


def test_special_tokens_are_never_hidden():
    ids = [7, UNK, 8, 9, MASK, 10, SEP, CLS, 11]
    row = row_of(ids, [index not in range(5) for index in ids])
    for number in range(300):
        _, positions = mask_words(row, row_generator(1, 0, number, "test"), SPECIAL, rate=0.9)
        assert not row.is_special[positions].any()


def test_random_tokens_are_any_ordinary_one_alike():
    drawn = np.concatenate(
        [ids[positions] for _, ids, positions in masked(random_rows(600), rate=0.9, mask_fraction=0, random_fraction=1)]
    )
    counts = np.bincount(drawn, minlength=VOCAB)
    assert set(np.flatnonzero(counts == 0)) == set(SPECIAL.specials)
    expected = len(drawn) / (VOCAB - 6)
    assert np.abs(counts[counts > 0] - expected).max() < 6 * expected**0.5


def test_at_least_one_word():
    row = row_of([7, 8, 9], [True, False, True])
    sizes = {len(mask_words(row, row_generator(1, 0, n, "test"), SPECIAL, rate=1e-9)[1]) for n in range(50)}
    assert sizes == {1, 2}  # the word of two pieces, or the one of one


def test_a_row_without_words_has_no_target():
    row = row_of([UNK, UNK], [False, False])
    ids, positions = mask_words(row, row_generator(1, 0, 0, "test"), SPECIAL)
    assert len(positions) == 0
    assert np.array_equal(ids, row.token_ids)


def test_masks_depend_on_seed_epoch_row_and_purpose_alone():
    (row,) = random_rows(1)

    def mask(*key):
        return tuple(mask_words(row, row_generator(*key), SPECIAL)[1])

    keys = [(1, 0, 0, "mlm"), (2, 0, 0, "mlm"), (1, 1, 0, "mlm"), (1, 0, 1, "mlm"), (1, 0, 0, "unilm")]
    found = [mask(*key) for key in keys]
    assert found == [mask(*key) for key in keys]
    assert len(set(found)) == len(keys)


def test_special_ids_of_a_vocabulary():
    special = SpecialIds.of(CharTokenizer(Vocab(["[unused1]", *SPECIAL_TOKENS, "", "春", "[unused2]", "雨"])))
    assert (special.pad, special.unk, special.cls, special.sep, special.mask) == (1, 2, 3, 4, 5)
    assert special.vocab_size == 10
    assert special.ordinary.tolist() == [7, 9]
    assert np.flatnonzero(~special.table).tolist() == [7, 9]


def test_a_vocabulary_without_special_tokens_is_refused():
    with pytest.raises(InputError, match=r"no \[PAD\] \[MASK\], which") as error:
        SpecialIds.of(CharTokenizer(Vocab(["[UNK]", "[CLS]", "[SEP]", "春"], source="vocab.txt")))
    assert "vocab.txt" in error.value.message
    assert "add them" in error.value.hint
