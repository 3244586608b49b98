"""Length-bucketed batches: complete, reproducible, within their budget, and the same for any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpx.data.batches.bucketing import BatchLimits, BucketedBatches, in_row_order, sequential_batches
from nlpx.errors import InputError


def some_lengths(count=5000, seed=0):
    """Like short news texts: most under 50 tokens, a few long."""
    drawn = np.random.default_rng(seed).lognormal(3.6, 0.6, count)
    return np.clip(drawn, 3, 400).astype(int)


def epoch_of(batches):
    taken = batches.take(1)
    while not batches.at_epoch_end:
        taken += batches.take(1)
    return taken


def padding(plan, lengths):
    padded = sum(len(rows) * max(lengths[row] for row in rows) for rows in plan)
    return 1 - sum(lengths) / padded


@pytest.mark.parametrize("limits", [{"batch_tokens": 4096}, {"batch_size": 32}])
@pytest.mark.parametrize("count", [1, 31, 700, 5000])
def test_every_row_once_per_epoch(limits, count):
    batches = BucketedBatches(some_lengths(count), seed=1, **limits)
    for _ in range(3):
        rows = [row for share in epoch_of(batches) for row in share.rows]
        assert sorted(rows) == list(range(count))


def test_budget_is_kept_and_used():
    lengths = some_lengths()
    plan = BucketedBatches(lengths, batch_tokens=4096, seed=1).plan(0)
    padded = [len(rows) * max(lengths[rows]) for rows in plan]
    assert max(padded) <= 4096
    assert np.mean(padded) > 0.85 * 4096
    assert all(len(rows) <= 50 for rows in BucketedBatches(lengths, batch_tokens=4096, max_batch_size=50).plan(0))


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own():
    plan = BucketedBatches([5, 999, 5], batch_tokens=100).plan(0)
    assert [1] in [rows.tolist() for rows in plan]


def test_little_is_padding():
    lengths = some_lengths(20000)
    in_order = [range(start, start + 32) for start in range(0, len(lengths), 32)]
    assert padding(in_order, lengths) > 0.5
    assert padding(BucketedBatches(lengths, batch_size=32).plan(0), lengths) < 0.05
    assert padding(BucketedBatches(lengths, batch_tokens=4096).plan(0), lengths) < 0.05
    assert padding(sequential_batches(lengths, batch_tokens=4096), lengths) < 0.05


def test_order_is_a_function_of_seed_and_epoch():
    def plan(seed, epoch):
        return [rows.tolist() for rows in BucketedBatches(some_lengths(), batch_tokens=4096, seed=seed).plan(epoch)]

    assert plan(1, 0) == plan(1, 0)
    assert plan(1, 0) != plan(1, 1)
    assert plan(1, 0) != plan(2, 0)


@pytest.mark.parametrize("count", [700, 5000])
def test_batch_order_is_not_by_length_and_neighbours_change(count):
    lengths = some_lengths(count)
    batches = BucketedBatches(lengths, batch_size=32, seed=1)
    longest = [max(lengths[rows]) for rows in batches.plan(0)]
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.3
    first, second = ({frozenset(rows.tolist()) for rows in batches.plan(epoch)} for epoch in (0, 1))
    assert len(first & second) <= 1


@pytest.mark.parametrize("world_size", [2, 3])
def test_shares_of_all_processes_make_the_global_batch(world_size):
    lengths = some_lengths(300)
    alone = epoch_of(BucketedBatches(lengths, batch_tokens=900, seed=4))
    processes = [
        epoch_of(BucketedBatches(lengths, batch_tokens=900, seed=4, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert len({len(shares) for shares in processes}) == 1
    for whole, *shares in zip(alone, *processes, strict=True):
        together = [row for share in shares if share.counts for row in share.rows]
        assert sorted(together) == sorted(whole.rows)
        assert {share.num_tokens for share in shares} == {whole.num_tokens} == {lengths[whole.rows].sum()}


def test_a_process_without_rows_repeats_one_that_does_not_count():
    share = BucketedBatches([7], batch_size=4, rank=1, world_size=2).take(1)[0]
    assert share.rows == [0]
    assert not share.counts


def test_no_update_crosses_the_end_of_an_epoch():
    batches = BucketedBatches(some_lengths(330), batch_size=32)
    assert len(batches) == 11
    sizes = [len(batches.take(4)) for _ in range(6)]
    assert sizes == [4, 4, 3, 4, 4, 3]
    assert batches.epoch == 1
    assert batches.at_epoch_end
    assert batches.num_updates(2, accumulation=4) == 6


def test_num_updates_counts_what_is_taken():
    batches = BucketedBatches(some_lengths(), batch_tokens=2000, seed=9)
    expected, updates = batches.num_updates(3, accumulation=3), 0
    while batches.epoch < 2 or not batches.at_epoch_end:
        batches.take(3)
        updates += 1
    assert updates == expected


def test_resuming_goes_on_in_the_middle_of_an_epoch():
    batches = BucketedBatches(some_lengths(), batch_tokens=2000, seed=9)
    for _ in range(150):
        batches.take(2)
    other = BucketedBatches(some_lengths(), batch_tokens=2000, seed=9)
    other.load_state_dict(batches.state_dict())
    assert [other.take(2) for _ in range(200)] == [batches.take(2) for _ in range(200)]


@pytest.mark.parametrize("change", [{"batch_tokens": 999}, {"seed": 1}, {"lengths": some_lengths(seed=8)}])
def test_resuming_with_other_batches_is_refused(change):
    settings = {"lengths": some_lengths(), "batch_tokens": 2000, "seed": 9}
    state = BucketedBatches(**settings).state_dict()
    with pytest.raises(InputError, match="place is lost"):
        BucketedBatches(**settings | change).load_state_dict(state)


def test_resuming_with_more_processes_keeps_the_place():
    state = BucketedBatches(some_lengths(), batch_tokens=2000).state_dict()
    BucketedBatches(some_lengths(), batch_tokens=2000, rank=1, world_size=4).load_state_dict(state)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(InputError):
        BucketedBatches([], batch_size=4)


@pytest.mark.parametrize("limits", [{}, {"batch_tokens": 10, "batch_size": 4}])
def test_exactly_one_limit(limits):
    with pytest.raises(ValueError, match="either"):
        BatchLimits(**limits)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 20), st.integers(1, 120))
def test_sequential_batches_can_be_put_back_in_order(lengths, window, batch_tokens):
    batches = sequential_batches(lengths, batch_tokens=batch_tokens, window=window)
    assert in_row_order(batches, [[lengths[row] for row in rows] for rows in batches]) == lengths
    for rows in batches:
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= batch_tokens
        assert max(rows) // window == min(rows) // window
