"""Sorted runs, their sums and their ranking, in memory and outside, against dictionaries."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlpx.counting import grams, results, runs
from nlpx.counting.grams import (
    Grams,
    add_up,
    count_windows,
    joined,
    merge_grams,
    merge_tables,
    read_grams,
    to_texts,
    write_grams,
)
from nlpx.counting.results import collect
from nlpx.counting.runs import merge_runs, merged_in_passes, read_run, run_size, write_run
from nlpx.counting.units import TextTable

words = st.text(st.characters(codec="utf-8"), max_size=4)
tables = st.lists(st.dictionaries(words, st.integers(1, 1 << 40), max_size=30), min_size=1, max_size=6)
fixtures_stay = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def written(folder: Path, parts: list[dict[str, int]]) -> list[Path]:
    paths = [folder / f"{index}.run" for index in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        keys = sorted(part)
        write_run(path, [(keys, [part[key] for key in keys])])
    return paths


def total(parts: list[dict[str, int]]) -> Counter[str]:
    return sum((Counter(part) for part in parts), Counter())


def ranked(table: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(table.items(), key=lambda item: (-item[1], item[0]))


@fixtures_stay
@given(tables)
def test_runs_add_up_in_memory_and_outside(tmp_path, parts):
    paths, expected = written(tmp_path, parts), total(parts)
    merged = [item for keys, counts in merge_runs(paths) for item in zip(keys, counts, strict=True)]
    assert merged == sorted(expected.items())
    for limit in (0, 1 << 30):
        found = collect(paths, folder=tmp_path, limit=limit)
        assert (found.total, found.distinct) == (expected.total(), len(expected))
        for top in (None, 0, 3):
            assert list(found.ranked(top, 1)) == ranked(expected)[:top]
        assert list(found.ranked(None, 1 << 20)) == [item for item in ranked(expected) if item[1] >= 1 << 20]


def test_runs_longer_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "BLOCK_RECORDS", 7)
    random.seed(0)
    parts = [{f"词{random.randrange(400)}": random.randrange(1, 9) for _ in range(size)} for size in (300, 1, 0, 90)]
    paths = written(tmp_path, parts)
    assert [run_size(path) for path in paths] == [(len(part), sum(len(key.encode()) for key in part)) for part in parts]
    assert dict(item for keys, counts in merge_runs(paths) for item in zip(keys, counts, strict=True)) == total(parts)


def test_code_point_order_is_kept_beyond_the_basic_plane(tmp_path):
    # In UTF-16 the first of these would come last.
    (path,) = written(tmp_path, [{"\uffee": 1, "𠀀": 1, "z": 1}])
    assert [key for keys, _ in read_run(path) for key in keys] == ["z", "\uffee", "𠀀"]


def test_many_runs_are_merged_in_passes_and_deleted_there(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "MOST_OPEN_RUNS", 3)
    kept, folder = tmp_path / "kept", tmp_path / "own"
    kept.mkdir()
    folder.mkdir()
    parts = [{"a": 1, f"w{index}": 1} for index in range(20)]
    paths = written(kept, parts[:10]) + written(folder, parts[10:])
    left = merged_in_passes(paths, folder, lambda group, target: write_run(target, merge_runs(group)))
    assert len(left) <= 3
    assert sorted(folder.iterdir()) == sorted(left)
    assert len(list(kept.iterdir())) == 10
    assert dict(item for keys, counts in merge_runs(left) for item in zip(keys, counts, strict=True)) == total(parts)


def test_a_table_knows_when_long_keys_fill_it():
    table = TextTable(100_000)
    table.counts["k" * 60_000] = 1
    table.grow(60_000)
    assert table.is_full()
    table = TextTable(100_000)
    for index in range(300):
        table.counts[f"{index:04}"] = 1
    table.grow(1200)
    assert not table.is_full()
    for index in range(2000):
        table.counts[f"{index:04}"] = 1
    assert table.is_full()


# Arrays of n-grams of characters


def naive(text: str, n: int) -> Counter[str]:
    return Counter(part[place : place + n] for part in text.split() for place in range(len(part) - n + 1))


def as_dict(tables: list[Grams], n: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for table in tables:
        for key, count in zip(to_texts(table.columns, n), table.counts.tolist(), strict=True):
            found[key] += count
    return found


@given(
    st.text(st.sampled_from("天地人aé \n😀\U0010ffff\0"), max_size=80), st.integers(2, 5), st.sampled_from([3, 1 << 20])
)
def test_windows_hold_the_grams_of_the_text(text, n, window):
    usual, grams.WINDOW = grams.WINDOW, window
    try:
        found = list(count_windows(text, n, grams.is_break_table(words_only=False)))
    finally:
        grams.WINDOW = usual
    assert as_dict(found, n) == naive(text, n)
    for together in ([add_up(found)] if found else []), list(merge_tables(found)):
        table = joined(together, n)
        keys = to_texts(table.columns, n)
        assert keys == sorted(naive(text, n))
        assert table.counts.tolist() == [naive(text, n)[key] for key in keys]


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_grams_add_up_on_disk_as_in_memory(tmp_path, monkeypatch, n):
    monkeypatch.setattr(grams, "BLOCK_RECORDS", 5)
    random.seed(n)
    is_break = grams.is_break_table(words_only=False)
    texts = ["".join(random.choices("天地人你我他a😀 ", k=size)) for size in (400, 30, 3, 150)]
    paths, all_tables = [], []
    for index, text in enumerate(texts):
        tables = [table for part in text.split() for table in count_windows(part, n, is_break)]
        all_tables += tables
        paths.append(tmp_path / f"{index}.run")
        write_grams(paths[-1], merge_tables(tables))
    expected = sum((naive(text, n) for text in texts), Counter())
    merged = list(merge_grams(paths, n))
    keys = [key for table in merged for key in to_texts(table.columns, n)]
    assert keys == sorted(expected)
    assert as_dict(merged, n) == as_dict(all_tables, n) == expected
    for limit in (0, 1 << 30):
        found = collect(paths, folder=tmp_path, limit=limit, characters=n)
        assert (found.total, found.distinct) == (expected.total(), len(expected))
        for top in (None, 0, 5):
            assert list(found.ranked(top, 1)) == ranked(expected)[:top]
        assert list(found.ranked(None, 3)) == [item for item in ranked(expected) if item[1] >= 3]


def test_a_run_of_grams_reads_as_written(tmp_path):
    columns = (np.arange(40_000, dtype=np.uint64), np.arange(40_000, dtype=np.uint64)[::-1].copy())
    table = Grams(columns, np.arange(1, 40_001))
    assert write_grams(tmp_path / "run", [table]) == 40_000
    back = list(read_grams(tmp_path / "run", 4))
    assert len(back) == 3
    for place in range(2):
        assert np.array_equal(np.concatenate([block.columns[place] for block in back]), columns[place])
    assert np.array_equal(np.concatenate([block.counts for block in back]), table.counts)


def test_words_only_breaks_at_all_but_letters():
    is_break = grams.is_break_table(words_only=True)
    for character in "0９，。 \n😀+\u3000":
        assert is_break[ord(character)]
    for character in "a天é𠀀\U0003134a":
        assert not is_break[ord(character)]


def test_nothing_is_ranked_from_nothing(tmp_path):
    for characters in (None, 2):
        found = collect([], folder=tmp_path, limit=1 << 20, characters=characters)
        assert (found.total, found.distinct, list(found.ranked(None, 1))) == (0, 0, [])
    assert results.TextResult({}).total == 0
